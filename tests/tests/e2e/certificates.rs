//! Renewed certificates are taken without a restart.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use roadstead_tests::{
    client,
    cluster::{Cluster, ClusterOptions},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A certificate and its key, in files that a server reads.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Writes a new certificate; answers it as clients see it.
    fn renew(&self) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        fs::write(&self.cert, made.cert.pem()).unwrap();
        fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }
}

/// The certificate that a port shows.
async fn shown(port: std::net::SocketAddr) -> Vec<u8> {
    let _ = client::http();
    let config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anything::Goes))
        .with_no_client_auth();
    let stream = TcpStream::connect(port).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn shows(port: std::net::SocketAddr, certificate: &[u8]) {
    let renewed = async {
        while shown(port).await != certificate {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renewed).await.expect("the port shows the new certificate");
}

#[tokio::test]
async fn renewed_certificates_are_shown_on_change_and_on_sighup_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str| Files {
        cert: folder.path().join(format!("{name}.pem")),
        key: folder.path().join(format!("{name}.key")),
    };
    let (registry, control) = (files("registry"), files("control"));
    let (first, _) = (registry.renew(), control.renew());
    let arguments = [
        ("--tls-cert", &registry.cert),
        ("--tls-key", &registry.key),
        ("--control-tls-cert", &control.cert),
        ("--control-tls-key", &control.key),
    ];
    let arguments =
        arguments.iter().flat_map(|(flag, path)| [(*flag).to_owned(), path.display().to_string()]).collect();
    let cluster = Cluster::start_bare(ClusterOptions { tls: true, arguments, ..ClusterOptions::default() }).await;
    assert_eq!(shown(cluster.registry).await, first);
    // By themselves.
    let second = registry.renew();
    shows(cluster.registry, &second).await;
    // When told.
    let (third, of_control) = (registry.renew(), control.renew());
    let server = Pid::from_raw(i32::try_from(cluster.pids()[0]).unwrap()).unwrap();
    kill_process(server, Signal::HUP).unwrap();
    shows(cluster.registry, &third).await;
    shows(cluster.control, &of_control).await;
    // A key that is not the certificate's: the ones before stay.
    fs::write(&registry.key, "nonsense").unwrap();
    kill_process(server, Signal::HUP).unwrap();
    let reported = async {
        while !cluster.log().contains("cannot be read anew") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reported).await.expect("the log says that the key cannot be used");
    assert_eq!(shown(cluster.registry).await, third);
}

/// A client that takes any certificate: the tests compare them.
mod anything {
    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::ring::default_provider,
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    #[derive(Debug)]
    pub struct Goes;

    impl ServerCertVerifier for Goes {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
