//! The certificate that clients are shown, read and checked before anything else is done.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {path}: {reason}", path = .path.display())]
pub struct InvalidTls {
    flag: &'static str,
    path: PathBuf,
    reason: String,
}

/// A certificate with its key, ready to serve HTTP/2 and HTTP/1.1.
#[derive(Clone)]
pub struct ServerTls(pub(crate) Arc<ServerConfig>);

impl ServerTls {
    /// Reads PEM files: the certificate with those that lead to its root, and its private key.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, InvalidTls> {
        let wrong = |flag, path: &Path, reason: &dyn fmt::Display| InvalidTls {
            flag,
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect)
            .map_err(|error| wrong("--tls-cert", cert, &error))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("--tls-key", key, &error))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, private)
            .map_err(|error| wrong("--tls-cert", cert, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}
