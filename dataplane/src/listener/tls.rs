//! A port's certificate, and the authorities of its clients' certificates: read and checked before a port is bound, and
//! read again when the files change.
//!
//! A connection keeps the certificate that it began with. Files that cannot be used are reported, and the certificate
//! before them stays in use.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{sync::watch, time::sleep};
use tracing::{error, info};

/// The interval at which the files are checked. Certificates are replaced hours or days before they expire.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A certificate or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {path}: {reason}", path = .path.display())]
pub struct InvalidTls {
    flag: &'static str,
    path: PathBuf,
    reason: String,
}

/// PEM files, each with the flag that named it.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate with those that lead to its root.
    pub cert: (&'static str, PathBuf),
    /// Its private key.
    pub key: (&'static str, PathBuf),
    /// The authorities that sign clients' certificates; clients need none where this is not set.
    pub client_ca: Option<(&'static str, PathBuf)>,
}

/// The times and sizes of the files when they were read: enough to notice a replacement.
type Seen = Vec<Option<(SystemTime, u64)>>;

/// A certificate with its key, ready to serve HTTP/2 and HTTP/1.1. Clones share it.
#[derive(Clone)]
pub struct ServerTls {
    files: Arc<TlsFiles>,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl ServerTls {
    /// Reads and checks the files.
    pub fn load(files: TlsFiles) -> Result<Self, InvalidTls> {
        let config = files.read()?;
        Ok(Self { files: Arc::new(files), current: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// Returns the configuration for the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Takes new files as they come, and looks at once whenever `reload` is told; ends with its sender.
    pub async fn follow(self, mut reload: watch::Receiver<()>) {
        let mut seen = self.files.seen();
        loop {
            let is_told = tokio::select! {
                told = reload.changed() => match told {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = sleep(LOOK_EVERY) => false,
            };
            let now = self.files.seen();
            if !is_told && now == seen {
                continue;
            }
            seen = now;
            let (flag, path) = &self.files.cert;
            match self.files.read() {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    info!(flag, path = %path.display(), "the certificate was read anew");
                }
                Err(error) => error!(%error, "the certificate cannot be read anew; the one before stays in use"),
            }
        }
    }
}

impl TlsFiles {
    fn seen(&self) -> Seen {
        let paths = [&self.cert, &self.key].into_iter().chain(&self.client_ca);
        let look = |path: &Path| path.metadata().ok().and_then(|file| Some((file.modified().ok()?, file.len())));
        paths.map(|(_, path)| look(path)).collect()
    }

    fn read(&self) -> Result<ServerConfig, InvalidTls> {
        let certificates = certificates(&self.cert)?;
        let (flag, path) = &self.key;
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(flag, path, error))?;
        let builder = ServerConfig::builder();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(named) => {
                let (flag, path) = named;
                let mut roots = RootCertStore::empty();
                for root in self::certificates(named)? {
                    roots.add(root).map_err(|error| wrong(flag, path, error))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(flag, path, error))?)
            }
        };
        let (flag, path) = &self.cert;
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| wrong(flag, path, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates((flag, path): &(&'static str, PathBuf)) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| wrong(flag, path, error))?;
    if found.is_empty() { Err(wrong(flag, path, "there is no certificate in it")) } else { Ok(found) }
}

fn wrong(flag: &'static str, path: &Path, reason: impl fmt::Display) -> InvalidTls {
    InvalidTls { flag, path: path.to_owned(), reason: reason.to_string() }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.files).finish_non_exhaustive()
    }
}
