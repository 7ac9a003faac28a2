//! Encrypted connections, asked for as libpq is: by `sslmode` and `sslrootcert`.
//!
//! What each mode means: <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>.

use std::env;
use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The `sslrootcert` that stands for the authorities which the machine trusts.
const SYSTEM: &str = "system";

/// `sslmode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How connections to a server are encrypted.
#[derive(Clone)]
pub(crate) struct Tls {
    mode: Mode,
    connector: MakeRustlsConnect,
    /// As the driver of the project's Python is to be told.
    parameters: Vec<(&'static str, String)>,
}

impl Tls {
    /// `mode` and `roots` are `sslmode` and `sslrootcert`, so far as they are given: without a mode, connections are
    /// encrypted if the server can. `home` has the directory
    /// `.postgresql`, in which libpq looks for the authorities that the user trusts.
    ///
    /// # Errors
    /// There is no such mode; the authorities are needed, and can't be read.
    pub(crate) fn new(mode: Option<&str>, roots: Option<&str>, home: Option<&Path>) -> Result<Self> {
        let parameters = [("sslmode", mode), ("sslrootcert", roots)];
        let parameters = parameters.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned())));
        let is_system = roots == Some(SYSTEM);
        let mode = match mode {
            None if is_system => Mode::VerifyFull,
            None | Some("prefer") => Mode::Prefer,
            // `false` and `true` are what others call it than libpq.
            Some("disable" | "false" | "0") => Mode::Disable,
            Some("allow") => Mode::Allow,
            Some("require" | "true" | "1") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some(other) => bail!(
                "there is no `sslmode={other}`\n\
                 hint: it is one of disable, allow, prefer, require, verify-ca and verify-full"
            ),
        };
        if is_system && mode != Mode::VerifyFull {
            bail!(
                "`sslrootcert=system` needs `sslmode=verify-full`: anybody can get a certificate from these"
            );
        }
        let roots = match roots {
            Some(SYSTEM) => Some(Roots::of_system()?),
            _ if matches!(mode, Mode::Disable | Mode::Allow | Mode::Prefer) => None,
            Some(path) => Some(Roots::read(Path::new(path))?),
            None => match home.map(|home| home.join(".postgresql/root.crt")) {
                // With the file there, `require` is `verify-ca`, as it was before that mode.
                Some(path) if path.is_file() => Some(Roots::read(&path)?),
                _ if mode == Mode::Require => None,
                path => bail!(
                    "`sslmode` asks for the server's certificate to be verified, and there is no {}\n\
                     hint: name the file of the authority that signed it with `sslrootcert=FILE`, or trust those \
                     that this machine trusts with `sslrootcert=system`",
                    path.unwrap_or_else(|| PathBuf::from("~/.postgresql/root.crt")).display()
                ),
            },
        };
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { roots, names: mode == Mode::VerifyFull, algorithms };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { mode, connector: MakeRustlsConnect::new(config), parameters: parameters.collect() })
    }

    /// What is not given comes from `PGSSLMODE` and `PGSSLROOTCERT`.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn or_environment(mode: Option<&str>, roots: Option<&str>) -> Result<Self> {
        let given = |value: Option<&str>, name: &str| {
            let value = value.map(str::to_owned).or_else(|| env::var(name).ok());
            value.filter(|value| !value.is_empty())
        };
        let (mode, roots) = (given(mode, "PGSSLMODE"), given(roots, "PGSSLROOTCERT"));
        Self::new(mode.as_deref(), roots.as_deref(), env::home_dir().as_deref())
    }

    /// `sslmode` and `sslrootcert`, as they were given.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.parameters.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Connect, with or without encryption.
    ///
    /// # Errors
    /// Why each of the ways that the mode allows is closed.
    pub(crate) fn connect(&self, config: &Config) -> Result<Client, Vec<postgres::Error>> {
        let ways: &[SslMode] = match self.mode {
            // What goes through a socket of the file system is never encrypted.
            _ if !config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_))) => &[SslMode::Disable],
            Mode::Disable => &[SslMode::Disable],
            Mode::Allow => &[SslMode::Disable, SslMode::Require],
            Mode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[SslMode::Require],
        };
        let mut failures = Vec::new();
        for way in ways {
            let mut config = config.clone();
            let connected = match config.ssl_mode(*way).get_ssl_mode() {
                SslMode::Disable => config.connect(NoTls),
                _ => config.connect(self.connector.clone()),
            };
            match connected {
                Ok(client) => return Ok(client),
                Err(error) => {
                    let is_last = !may_go_the_other_way(&error);
                    failures.push(error);
                    if is_last {
                        break;
                    }
                }
            }
        }
        Err(failures)
    }
}

/// Whether it is about encryption that a connection failed.
fn may_go_the_other_way(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || of_tls(error).is_some()
}

/// What is wrong with the encryption itself.
fn of_tls(error: &postgres::Error) -> Option<&TlsError> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// What the user may do about it.
pub(crate) fn hint(error: &postgres::Error) -> Option<&'static str> {
    let TlsError::InvalidCertificate(reason) = of_tls(error)? else { return None };
    Some(match reason {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "connect to the name for which the certificate was made, or do without its proof by `sslmode=verify-ca`"
        }
        // Or another authority has the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "name the file of the authority that signed the server's certificate with `sslrootcert=FILE`"
        }
        _ => return None,
    })
}

/// The authorities that are trusted.
#[derive(Debug)]
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    store: RootCertStore,
}

impl Roots {
    fn new(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        Self { certificates, store }
    }

    fn read(path: &Path) -> Result<Self> {
        let read = |path| CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
        let certificates =
            read(path).with_context(|| format!("could not read certificates from {}", path.display()))?;
        if certificates.is_empty() {
            bail!("there is no certificate in {}\nhint: it is a file in the form PEM", path.display());
        }
        Ok(Self::new(certificates))
    }

    fn of_system() -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            bail!(
                "this machine trusts no authorities: {}\n\
                 hint: install the package `ca-certificates`, or name a file with `sslrootcert=FILE`",
                reasons.join("; ")
            );
        }
        Ok(Self::new(found.certs))
    }
}

/// Looks at the server's certificate as OpenSSL does for libpq.
#[derive(Debug)]
struct Verifier {
    /// Without any, everybody may be the server.
    roots: Option<Roots>,
    /// Whether the certificate must be for the host.
    names: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer,
        intermediates: &[CertificateDer],
        host: &ServerName,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if let Some(roots) = &self.roots {
            let parsed = ParsedCertificate::try_from(certificate)?;
            // A certificate that is itself trusted was signed by nobody else, most often.
            if !roots.certificates.contains(certificate) {
                let (store, all) = (&roots.store, self.algorithms.all);
                verify_server_cert_signed_by_trust_anchor(&parsed, store, intermediates, now, all)?;
            }
            if self.names {
                verify_server_name(&parsed, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::super::cluster::Cluster;
    use super::super::server::{Server, current_revisions, reason};
    use super::*;

    /// A server with encryption on a port of this machine, where the users `tls` and `plain` may only come with and
    /// without it.
    struct Encrypted {
        port: u16,
        /// With the certificates of the authority, and of another.
        directory: tempfile::TempDir,
        local: Config,
        _cluster: Cluster,
    }

    impl Encrypted {
        fn start() -> Self {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let settings = format!("listen_addresses = '127.0.0.1'\nport = {port}");
            let cluster = Cluster::start_with(None, &settings).unwrap();
            let mut local = Config::new();
            local.user("postgres").host(cluster.directory().to_str().unwrap()).port(port);
            let directory = tempfile::tempdir().unwrap();
            let encrypted = Self { port, directory, local, _cluster: cluster };
            let (authority, other) = (authority(), authority());
            fs::write(encrypted.root("authority"), authority.pem()).unwrap();
            fs::write(encrypted.root("other"), other.pem()).unwrap();
            let key = KeyPair::generate().unwrap();
            let certificate = named("localhost").signed_by(&key, &authority).unwrap();
            encrypted.write("server.crt", &certificate.pem());
            encrypted.write("server.key", &key.serialize_pem());
            encrypted.write(
                "pg_hba.conf",
                "local all all trust\nhostssl all tls all trust\nhostnossl all plain all trust\nhost all postgres all \
                 trust",
            );
            encrypted.run("CREATE ROLE tls LOGIN");
            encrypted.run("CREATE ROLE plain LOGIN");
            encrypted.run("ALTER SYSTEM SET ssl = on");
            encrypted
        }

        fn root(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Runs a statement as a user who may do anything, and lets the server read its files.
        fn run(&self, sql: &str) {
            let mut client = self.local.connect(NoTls).unwrap();
            client.batch_execute(sql).unwrap();
            client.batch_execute("SELECT pg_reload_conf()").unwrap();
        }

        /// A file of the server, which is its own and nobody else's.
        fn write(&self, name: &str, text: &str) {
            self.run(&format!(
                "COPY (SELECT regexp_split_to_table($${text}$$, '\n')) TO PROGRAM 'umask 077; cat > {name}'"
            ));
        }

        fn url(&self, user: &str, host: &str, query: &str) -> String {
            format!("postgresql+psycopg2://{user}@{host}:{}/postgres?{query}", self.port)
        }

        /// Whether a connection is encrypted, or why there is none.
        fn at(&self, user: &str, host: &str, query: &str) -> Result<bool, String> {
            let (name, value) = query.split_once(':').unwrap_or((query, ""));
            let path = self.root(value);
            let (mode, roots) = (Some(name), (!value.is_empty()).then(|| path.to_str().unwrap()));
            let tls = Tls::new(mode.filter(|mode| !mode.is_empty()), roots, Some(self.directory.path()))
                .map_err(|error| error.to_string())?;
            let mut config = Config::new();
            config.user(user).host(host).port(self.port).dbname("postgres");
            let mut client = tls.connect(&config).map_err(|failures| {
                let failures = failures.iter().map(|error| format!("{} {:?}", reason(error), hint(error)));
                failures.collect::<Vec<_>>().join("; ")
            })?;
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            Ok(client.query_one(sql, &[]).unwrap().get(0))
        }
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    fn named(host: &str) -> CertificateParams {
        CertificateParams::new(vec![host.to_owned()]).unwrap()
    }

    #[test]
    fn every_mode_does_what_libpq_does() {
        let server = Encrypted::start();
        for (user, host, query, expected) in [
            ("postgres", "localhost", "disable", Ok(false)),
            ("postgres", "localhost", "allow", Ok(false)),
            ("postgres", "localhost", "", Ok(true)),
            ("postgres", "localhost", "prefer", Ok(true)),
            ("postgres", "127.0.0.1", "require", Ok(true)),
            ("postgres", "127.0.0.1", "verify-ca:authority", Ok(true)),
            ("postgres", "localhost", "verify-full:authority", Ok(true)),
            // Not for this name.
            ("postgres", "127.0.0.1", "verify-full:authority", Err("sslmode=verify-ca")),
            ("postgres", "localhost", "verify-ca:other", Err("sslrootcert=FILE")),
            ("postgres", "localhost", "require:other", Err("sslrootcert=FILE")),
            ("postgres", "localhost", "verify-full:gone", Err("could not read certificates from ")),
            ("postgres", "localhost", "verify-ca", Err(".postgresql/root.crt\nhint: ")),
            ("postgres", "localhost", "encrypt", Err("there is no `sslmode=encrypt`\nhint: ")),
            // The other way round.
            ("tls", "localhost", "allow", Ok(true)),
            ("tls", "localhost", "disable", Err("no encryption")),
            ("plain", "localhost", "prefer", Ok(false)),
            ("plain", "localhost", "require", Err("SSL encryption")),
        ] {
            let found = server.at(user, host, query);
            match (&found, expected) {
                (Ok(encrypted), Ok(expected)) => assert_eq!(*encrypted, expected, "{user}@{host} {query}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{query}: {error}"),
                _ => panic!("{user}@{host} {query}: {found:?}"),
            }
        }

        // The user's own authorities count where none are named.
        fs::create_dir(server.root(".postgresql")).unwrap();
        fs::copy(server.root("other"), server.root(".postgresql/root.crt")).unwrap();
        assert!(server.at("postgres", "localhost", "require").unwrap_err().contains("sslrootcert=FILE"));
        assert_eq!(server.at("postgres", "localhost", "prefer"), Ok(true));
        fs::copy(server.root("authority"), server.root(".postgresql/root.crt")).unwrap();
        assert_eq!(server.at("postgres", "localhost", "verify-full"), Ok(true));

        // A certificate that signs itself, as `openssl req -x509` makes it.
        let key = KeyPair::generate().unwrap();
        let mut parameters = named("localhost");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        server.write("server.crt", &certificate.pem());
        server.write("server.key", &key.serialize_pem());
        fs::write(server.root("itself"), certificate.pem()).unwrap();
        assert_eq!(server.at("postgres", "localhost", "verify-full:itself"), Ok(true));
        assert!(server.at("postgres", "localhost", "verify-ca:authority").is_err());

        server.run("ALTER SYSTEM SET ssl = off");
        assert_eq!(server.at("postgres", "localhost", "prefer"), Ok(false));
        assert!(server.at("postgres", "localhost", "require").unwrap_err().contains("not support TLS"));
    }

    #[test]
    fn a_url_asks_for_encryption() {
        let server = Encrypted::start();
        let root = server.root("authority");
        let escaped = root.to_str().unwrap().bytes().map(|byte| format!("%{byte:02X}"));
        let root = escaped.collect::<Vec<_>>().concat();
        server.run(
            "CREATE TABLE alembic_version (version_num varchar(32)); GRANT SELECT ON alembic_version TO tls",
        );
        server.run("INSERT INTO alembic_version VALUES ('a')");
        for query in [
            format!("sslmode=verify-full&sslrootcert={root}"),
            "sslmode=require".to_owned(),
            "ssl=require".to_owned(),
            "hostaddr=127.0.0.1".to_owned(),
        ] {
            let revisions = current_revisions(&server.url("tls", "localhost", &query));
            assert_eq!(revisions.unwrap(), ["a"], "{query}");
        }
        let error = current_revisions(&server.url("tls", "localhost", "sslmode=disable")).unwrap_err();
        assert!(error.to_string().contains("no encryption"), "{error}");

        let url = server.url("postgres", "localhost", &format!("sslmode=verify-ca&sslrootcert={root}"));
        let scratch = Server::at(&url).unwrap();
        let database = scratch.create("tls").unwrap();
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert!(database.connect().unwrap().query_one(sql, &[]).unwrap().get::<_, bool>(0));
        let parameters = database.parameters();
        assert_eq!(parameters["sslmode"], "verify-ca");
        assert_eq!(parameters["sslrootcert"], server.root("authority").to_str().unwrap());
    }

    #[test]
    fn authorities_of_the_machine_need_the_name() {
        let error = |mode, roots| Tls::new(mode, Some(roots), None).err().unwrap().to_string();
        assert!(error(Some("require"), "system").contains("needs `sslmode=verify-full`"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(
            error(Some("verify-ca"), file.path().to_str().unwrap())
                .starts_with("there is no certificate in ")
        );
    }
}
