//! Who is let in: TLS, tokens and client certificates over real sockets, and files that change while it serves.

use std::path::PathBuf;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::*;

/// Signs certificates.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Identity {
    certificate: String,
    key: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

struct Files(TempDir);

impl Files {
    fn new(server: &Identity) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.serve(server);
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn serve(&self, server: &Identity) -> TlsFiles {
        let certificate = self.write("certificate", &server.certificate);
        TlsFiles { certificate, key: self.write("key", &server.key) }
    }

    fn config(&self, authentication: Authentication) -> IngestConfig {
        let path = |name: &str| self.0.path().join(name);
        let tls = Some(TlsFiles { certificate: path("certificate"), key: path("key") });
        let security = Security { tls, authentication, plaintext: false };
        IngestConfig { security, ..IngestConfig::new("default") }
    }
}

/// A TLS channel to the name "aggregator", or why there is none.
async fn secured(
    address: SocketAddr,
    ca: &Ca,
    identity: Option<&Identity>,
) -> std::io::Result<Channel> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("aggregator").unwrap();
    let stream = TcpStream::connect(address).await?;
    let stream = within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_with_connector(Once(Some(stream))).await.map_err(std::io::Error::other)
}

/// A connection that is there already, as the transport wants it.
struct Once<S>(Option<S>);

impl<S> tonic::codegen::Service<Uri> for Once<S> {
    type Response = TokioIo<S>;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        std::future::ready(stream.ok_or(std::io::ErrorKind::NotConnected.into()))
    }
}

/// Says Hello as a node; how the stream answers.
async fn greet(channel: Channel, token: Option<&str>, node: &str) -> Result<Client, Status> {
    let mut client = Client::over(channel, token).await?;
    client.send(hello(node, "default")).await;
    match client.hear().await? {
        Some(FromServer::Welcome(_)) => Ok(client),
        other => panic!("not Welcome: {other:?}"),
    }
}

/// A client that leaves is not counted before its connection has been looked at.
async fn counted(server: &Server, label: &'static str, expected: u64) {
    let look = async {
        while server.metrics.clients_refused(label) < expected {
            tokio::task::yield_now().await;
        }
    };
    within(look).await;
    assert_eq!(server.metrics.clients_refused(label), expected, "{label}");
}

#[tokio::test]
async fn a_token_over_tls_lets_in_and_any_other_does_not() {
    let ca = Ca::new("ca");
    let files = Files::new(&ca.sign("aggregator"));
    let file = files.write("token", "one\ntwo\n");
    let (sink, taken) = durable_sink();
    let server = Server::start(files.config(Authentication::Token { file }), sink).await;
    let channel = async || secured(server.address, &ca, None).await.unwrap();

    for (number, token) in [(1, "one"), (2, "two")] {
        let mut client = greet(channel().await, Some(token), "node-1").await.unwrap();
        assert_eq!(client.ship(batch(number, "node-1")).await, None);
    }
    for (token, label) in [(Some("three"), "wrong_token"), (None, "no_token")] {
        let denied = greet(channel().await, token, "node-1").await.err().unwrap();
        assert_eq!(denied.code(), Code::Unauthenticated);
        assert!(denied.message().contains("token"), "{denied:?}");
        counted(&server, label, 1).await;
    }
    server.stop().await;
    assert_eq!(within(taken).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_client_that_cannot_trust_or_does_not_speak_tls_is_counted() {
    let ca = Ca::new("ca");
    let (sink, _taken) = durable_sink();
    let files = Files::new(&ca.sign("aggregator"));
    let server = Server::start(files.config(Authentication::None), sink).await;
    let address = server.address;
    let failure = secured(address, &Ca::new("ca"), None).await.err().unwrap();
    assert!(failure.to_string().contains("certificate"), "{failure}");
    counted(&server, "not_trusted", 1).await;

    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await;
    if let Ok(channel) = plain {
        assert!(greet(channel, None, "node-1").await.is_err());
    }
    counted(&server, "handshake", 1).await;

    // A probe of the port is no client.
    drop(TcpStream::connect(address).await.unwrap());
    greet(secured(address, &ca, None).await.unwrap(), None, "node-1").await.unwrap();
    assert_eq!(server.metrics.clients_refused("handshake"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_certificate_lets_in_the_node_that_it_names() {
    let (ca, nodes) = (Ca::new("ca"), Ca::new("nodes"));
    let files = Files::new(&ca.sign("aggregator"));
    let authentication = Authentication::Certificate { ca: files.write("nodes", &nodes.pem) };
    let (sink, _taken) = durable_sink();
    let server = Server::start(files.config(authentication), sink).await;
    let node = nodes.sign("node-1");
    let open = async |identity: Option<&Identity>, name: &str| match secured(
        server.address,
        &ca,
        identity,
    )
    .await
    {
        Ok(channel) => greet(channel, None, name).await,
        Err(error) => Err(Status::unavailable(error.to_string())),
    };

    let mut client = open(Some(&node), "node-1").await.unwrap();
    assert_eq!(client.ship(batch(1, "node-1")).await, None);
    let refuse = client.ship(batch(2, "node-2")).await.unwrap();
    assert_eq!(refuse.reason(), RefuseReason::WrongNode, "in a frame");

    let denied = open(Some(&node), "node-2").await.err().unwrap();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(denied.message().contains("node-1") && denied.message().contains("node-2"));
    counted(&server, "wrong_node", 1).await;

    open(None, "node-1").await.err().unwrap();
    counted(&server, "no_certificate", 1).await;
    for other in [ca.sign("node-1"), Ca::new("nodes").sign("node-1")] {
        open(Some(&other), "node-1").await.err().unwrap();
    }
    counted(&server, "wrong_certificate", 2).await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn files_that_change_count_for_the_next_connection() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let files = Files::new(&old.sign("aggregator"));
    let file = files.write("token", "first");
    let (sink, _taken) = durable_sink();
    let server = Server::start(files.config(Authentication::Token { file }), sink).await;
    let address = server.address;
    let mut client =
        greet(secured(address, &old, None).await.unwrap(), Some("first"), "n").await.unwrap();

    files.write("certificate", "half of a cert");
    within(async {
        while server.service.security_trouble().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(server.service.security_trouble().unwrap().contains("/certificate"));
    assert_eq!(server.metrics.security_files_current.get(), 0);
    greet(secured(address, &old, None).await.unwrap(), Some("first"), "n").await.unwrap();

    files.serve(&new.sign("aggregator"));
    files.write("token", "second");
    within(async {
        while secured(address, &new, None).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(async {
        while server.service.security_trouble().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let opened = secured(address, &new, None).await.unwrap();
    assert!(greet(opened.clone(), Some("first"), "n").await.is_err());
    greet(opened, Some("second"), "n").await.unwrap();
    assert!(secured(address, &old, None).await.is_err());
    assert_eq!(client.ship(batch(1, "n")).await, None, "what is open stays open");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_served_that_would_be_open_or_whose_files_are_wrong() {
    let serve = async |address: &str, security: Security| {
        let (sink, _taken) = durable_sink();
        let config = IngestConfig { security, ..IngestConfig::new("default") };
        let service = Service::new(config, sink, Metrics::default());
        let listener = TcpListener::bind(address).await.unwrap();
        within(service.serve(listener, std::future::ready(()))).await
    };
    let refused = serve("0.0.0.0:0", Security::loopback()).await.unwrap_err();
    assert!(refused.to_string().contains("not loopback: it needs TLS"), "{refused}");
    let plaintext = Security { plaintext: true, ..Security::loopback() };
    serve("0.0.0.0:0", plaintext).await.unwrap();
    serve("127.0.0.1:0", Security::loopback()).await.unwrap();
    let authentication = Authentication::Token { file: "/nowhere".into() };
    let refused = serve("127.0.0.1:0", Security { authentication, ..Security::loopback() }).await;
    assert!(refused.unwrap_err().to_string().contains("/nowhere"));
}
