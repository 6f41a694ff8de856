//! TLS to the control plane for processes that run for long: the files are read for each connection, so that renewed
//! certificates are used without a restart.

use std::{io, path::PathBuf, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Error, Uri};
use tower::service_fn;
use url::Url;

/// The files of one side of the connection.
#[derive(Clone, Debug)]
pub struct TlsAtConnect {
    /// Authorities to trust; the system's if not set.
    pub ca: Option<PathBuf>,
    /// The certificate to show and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsAtConnect {
    /// Returns a channel to an `https` URL that is connected with its first call, and again whenever it has to be.
    pub fn channel(self, url: &Url, tune: impl FnOnce(Endpoint) -> Endpoint) -> Result<Channel, Error> {
        // tonic adds no TLS of its own where the address is a plain one; requests name the real one.
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
        let endpoint = Endpoint::from_shared(format!("http://{host}:{port}"))?;
        let endpoint = match url.as_str().parse::<Uri>() {
            Ok(origin) => endpoint.origin(origin),
            Err(_) => endpoint,
        };
        let tls = Arc::new(self);
        Ok(tune(endpoint).connect_with_connector_lazy(service_fn(move |address: Uri| {
            let tls = Arc::clone(&tls);
            async move { tls.connect(&address).await.map(TokioIo::new) }
        })))
    }

    async fn connect(&self, address: &Uri) -> io::Result<TlsStream<TcpStream>> {
        let host = address.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), address.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        connector.connect(name, stream).await
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for authority in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                    roots.add(authority.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
            }
            None => {
                // Some of the system's may be malformed; the others do.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain =
                    CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(io::Error::other)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
                builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
