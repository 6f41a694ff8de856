//! TLS of the control port: its certificate, and the CAs of client certificates.

use std::{fmt::Display, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::failure::Failure;

/// Loads and checks the files. New certificates take effect at the next start.
pub fn load(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, Failure> {
    let certificates = certificates("--control-tls-cert", cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("--control-tls-key", key, error))?;
    let builder = ServerConfig::builder();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in self::certificates("--control-client-ca", path)? {
                roots.add(root).map_err(|error| wrong("--control-client-ca", path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong("--control-client-ca", path, error))?)
        }
    };
    let mut config =
        builder.with_single_cert(certificates, private).map_err(|error| wrong("--control-tls-cert", cert, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| wrong(flag, path, error))?;
    if found.is_empty() { Err(wrong(flag, path, "the file contains no certificate")) } else { Ok(found) }
}

fn wrong(flag: &str, path: &Path, why: impl Display) -> Failure {
    Failure::usage(format_args!("{flag} {}: {why}", path.display()))
}
