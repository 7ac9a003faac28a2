//! The PostgreSQL server that scratch databases are made on.
//!
//! **Invariant: a database that was there before is never written to.** Whatever is run, is run in a
//! database with a new name, which is dropped in the end.

use std::collections::BTreeMap;
use std::env;
use std::error::Error as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use percent_encoding::percent_decode_str;
use postgres::config::Host;
use postgres::error::SqlState;
use postgres::{Client, Config};
use serde_json::Value;

use super::cluster::Cluster;
use super::tls::{self, Tls};

/// How often to look whether the server has done something.
const POLL: Duration = Duration::from_millis(2);
/// How long connections to a template may take to close by themselves.
const CLOSING: Duration = Duration::from_secs(1);
/// How long a template may be in use.
const IN_USE: Duration = Duration::from_secs(5);
/// How long a terminated session may take to end.
const TERMINATION: Duration = Duration::from_secs(10);

/// The sessions in a database, without the server's own processes.
const SESSIONS: &str = "FROM pg_stat_activity WHERE datname = $1 AND usesysid IS NOT NULL";

/// A server, and what we may do there. Can be shared by threads.
pub(crate) struct Server {
    config: Config,
    tls: Tls,
    admin: Mutex<Client>,
    version: u32,
    superuser: bool,
    // Last, so that the connection is closed before the server stops.
    cluster: Option<Cluster>,
}

impl Server {
    /// A private server of the given major version, or of the newest that is installed.
    ///
    /// # Errors
    /// Those of [`Cluster::start`].
    pub(crate) fn embedded(version: Option<u32>) -> Result<Self> {
        let cluster = Cluster::start(version)?;
        let mut config = Config::new();
        let directory = cluster.directory().to_str().context("the temporary directory is not UTF-8")?;
        config.user("postgres").dbname("postgres").host(directory);
        let tls = Tls::new(Some("disable"), None, None)?;
        Self::new(config, tls, Some(cluster), "the private PostgreSQL")
    }

    /// The server at a URL as libpq or SQLAlchemy understand it. What it does not say comes from
    /// `PGHOST`, `PGPASSWORD`, `PGSSLMODE` and `PGSSLROOTCERT`, then from libpq's defaults.
    ///
    /// # Errors
    /// It isn't such a URL, leads nowhere, or to a user who can't create databases.
    pub(crate) fn at(url: &str) -> Result<Self> {
        let shown = without_password(url);
        let (config, tls) = configuration(url, &shown)?;
        Self::new(config, tls, None, &shown)
    }

    fn new(mut config: Config, tls: Tls, cluster: Option<Cluster>, shown: &str) -> Result<Self> {
        let mut admin = connect(&mut config, &tls, shown)?;
        let row = admin
            .query_one(
                "SELECT current_setting('server_version_num')::int4, rolsuper, rolcreatedb, session_user::text
                 FROM pg_roles WHERE rolname = current_user",
                &[],
            )
            .map_err(|error| anyhow!("could not ask {shown} for its version: {}", reason(&error)))?;
        let (version, superuser, creates): (i32, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let user: String = row.get(3);
        if !superuser && !creates {
            bail!(
                "the user `{user}` of {shown} may not create databases\n\
                 hint: run `ALTER ROLE \"{user}\" CREATEDB` there as a superuser"
            );
        }
        config.user(&user);
        let version = u32::try_from(version / 10000)?;
        Ok(Self { config, tls, admin: Mutex::new(admin), version, superuser, cluster })
    }

    /// The major version.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Whether everything is allowed: extensions, roles, tablespaces.
    pub(crate) fn is_superuser(&self) -> bool {
        self.superuser
    }

    /// A new, empty database. `purpose` becomes part of its name.
    ///
    /// # Errors
    /// The server refuses: no space left, ...
    pub(crate) fn create(&self, purpose: &str) -> Result<Database<'_>> {
        self.copy("template0", purpose).map_err(|error| not_created(purpose, &error))
    }

    /// A new database with everything that is in `template`, except settings (`ALTER DATABASE ... SET`)
    /// and privileges of the database itself.
    ///
    /// Connections to `template` have to be closed. The server notices that a little later than the
    /// client, which is waited for; those that are open after a second are terminated.
    ///
    /// # Errors
    /// As for [`Self::create`]; also when connections to `template` can't be terminated.
    pub(crate) fn clone_of(&self, template: &Database<'_>, purpose: &str) -> Result<Database<'_>> {
        let started = Instant::now();
        loop {
            let waited = started.elapsed();
            // Asked first, because the server would wait in steps of 100 ms.
            if waited > IN_USE || !self.is_used(&template.name)? {
                match self.copy(&template.name, purpose) {
                    Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) && waited < IN_USE => {}
                    result => return result.map_err(|error| not_created(purpose, &error)),
                }
            } else if waited > CLOSING {
                self.terminate_all(&template.name)?;
            }
            thread::sleep(POLL);
        }
    }

    fn copy(&self, template: &str, purpose: &str) -> Result<Database<'_>, postgres::Error> {
        let name = new_name(purpose);
        // Less to write than with the write-ahead log, which is the default since there is a choice. It
        // forces a checkpoint, which takes long on a server that is not our own.
        let strategy = if self.version >= 15 && self.cluster.is_some() { "STRATEGY file_copy" } else { "" };
        self.admin().batch_execute(&format!(
            "CREATE DATABASE \"{name}\" TEMPLATE \"{template}\" ENCODING 'UTF8' {strategy}"
        ))?;
        let database = Database { server: self, name };
        if self.superuser {
            let name = &database.name;
            self.admin().batch_execute(&format!("ALTER DATABASE \"{name}\" SET lc_messages = 'C'"))?;
        }
        Ok(database)
    }

    /// Ends the session of the server process `pid` and waits until it is gone. There may be none.
    ///
    /// # Errors
    /// We may not, or the session is still there after ten seconds.
    pub(crate) fn terminate(&self, pid: i32) -> Result<()> {
        self.admin().execute("SELECT pg_terminate_backend($1)", &[&pid])?;
        let started = Instant::now();
        while self.admin().query_opt("SELECT FROM pg_stat_activity WHERE pid = $1", &[&pid])?.is_some() {
            if started.elapsed() > TERMINATION {
                bail!("the session of process {pid} does not end");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn terminate_all(&self, database: &str) -> Result<(), postgres::Error> {
        let sql = format!("SELECT pg_terminate_backend(pid) {SESSIONS}");
        self.admin().execute(&sql, &[&database]).map(drop)
    }

    fn is_used(&self, database: &str) -> Result<bool, postgres::Error> {
        let row = self.admin().query_one(&format!("SELECT count(*) > 0 {SESSIONS}"), &[&database])?;
        Ok(row.get(0))
    }

    fn admin(&self) -> MutexGuard<'_, Client> {
        // A client is as good as before when another thread panicked.
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A scratch database. It is dropped with this, whoever is connected to it.
pub(crate) struct Database<'a> {
    server: &'a Server,
    name: String,
}

impl Database<'_> {
    /// A connection without a transaction, which gives up after waiting for a lock for a minute.
    ///
    /// # Errors
    /// The server refuses: too many connections, ...
    pub(crate) fn connect(&self) -> Result<Client> {
        let mut config = self.server.config.clone();
        let mut client = self.server.tls.connect(config.dbname(&self.name)).map_err(|mut failures| {
            failures.pop().map_or_else(|| anyhow!("there is no way to connect"), anyhow::Error::from)
        })?;
        client.batch_execute("SET lock_timeout = '60s'")?;
        Ok(client)
    }

    /// What a driver of Python needs: `user`, `password`, `host`, `port`, `database`, `sslmode` and `sslrootcert`,
    /// all of them texts. What is unknown is left out.
    pub(crate) fn parameters(&self) -> Value {
        let config = &self.server.config;
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => Some(name.clone()),
            #[cfg(unix)]
            Some(Host::Unix(path)) => Some(path.display().to_string()),
            None => config.get_hostaddrs().first().map(ToString::to_string),
        };
        let password = config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        [
            ("user", config.get_user().map(str::to_owned)),
            ("password", password),
            ("host", host),
            ("port", Some(port(config).to_string())),
            ("database", Some(self.name.clone())),
        ]
        .into_iter()
        .chain(self.server.tls.parameters().map(|(key, value)| (key, Some(value.to_owned()))))
        .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
        .collect()
    }
}

#[cfg(test)]
impl Database<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, sql: &str) -> Result<()> {
        Ok(self.connect()?.batch_execute(sql)?)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // Nobody could be told about an error, and a private server vanishes anyway.
        let force = if self.server.version >= 13 {
            "WITH (FORCE)"
        } else {
            let _ = self.server.terminate_all(&self.name);
            ""
        };
        let name = &self.name;
        let _ = self.server.admin().batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" {force}"));
    }
}

/// A name that no database has. PostgreSQL cuts names off after 63 bytes.
fn new_name(purpose: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    // The process id alone is not enough: containers with the same may share a server.
    let random = RandomState::new().build_hasher().finish() & 0xffff;
    let purpose = purpose.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let mut name = format!("safemig_{}_{number}_{random:04x}_{purpose}", process::id());
    name.truncate(63);
    name
}

fn not_created(purpose: &str, error: &postgres::Error) -> anyhow::Error {
    anyhow!("could not create a scratch database ({purpose}): {}", reason(error))
}

/// The server's own words, or what prevented it from having any.
pub(super) fn reason(error: &postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return error.to_string();
    }
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Most of the driver's own errors end with their source already.
        let inner = error.to_string();
        if !reason.ends_with(&inner) {
            reason = format!("{reason}: {inner}");
        }
        source = error.source();
    }
    reason
}

/// Reads a URL. Parameters that make no difference to us, such as a driver's, are passed over.
fn parse(url: &str) -> Result<(Config, Tls)> {
    const KNOWN: [&str; 8] =
        ["user", "password", "dbname", "host", "hostaddr", "port", "options", "connect_timeout"];

    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // SQLAlchemy names the driver after a plus sign.
    if !matches!(scheme.split('+').next(), Some("postgresql" | "postgres")) {
        bail!("it is not a PostgreSQL URL\nhint: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`");
    }
    let host = rest.find('@').map_or(0, |at| at + 1);
    let (base, query) = match rest[host..].find('?') {
        Some(at) => (&rest[..host + at], &rest[host + at + 1..]),
        None => (rest, ""),
    };
    let query: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let known = query.iter().filter(|(key, _)| KNOWN.contains(key));
    let known: Vec<_> = known.map(|(key, value)| format!("{key}={value}")).collect();
    let config = format!("postgresql://{base}?{}", known.join("&"));
    let config = config.parse().map_err(|error| anyhow!("{}", reason(&error)))?;
    let given = |name: &str| query.get(name).map(|value| percent_decode_str(value).decode_utf8_lossy());
    // `ssl` is what asyncpg and pg8000 call it.
    let mode = given("sslmode").or_else(|| given("ssl"));
    let tls = Tls::or_environment(mode.as_deref(), given("sslrootcert").as_deref())?;
    Ok((config, tls))
}

/// The revisions at which a database stands, by its table `alembic_version`, or else the only table that has the form
/// of it; none when nothing has run there.
///
/// # Errors
/// It isn't such a URL, or leads nowhere; several tables have that form.
pub(crate) fn current_revisions(url: &str) -> Result<Vec<String>> {
    let shown = without_password(url);
    let failed = |error: postgres::Error| {
        anyhow!("could not read the revisions at which {shown} is: {}", reason(&error))
    };
    let (mut config, tls) = configuration(url, &shown)?;
    let mut client = connect(&mut config, &tls, &shown)?;
    let tables = client
        .query(
            "SELECT format('%I.%I', nspname, relname), relname = 'alembic_version' AND pg_table_is_visible(c.oid)
             FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
             WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
               AND (SELECT array_agg(attname::text) FROM pg_attribute
                    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) = ARRAY['version_num']
             ORDER BY 2 DESC, 1",
            &[],
        )
        .map_err(failed)?;
    let tables: Vec<(String, bool)> = tables.iter().map(|row| (row.get(0), row.get(1))).collect();
    let table = match tables.as_slice() {
        [] => return Ok(Vec::new()),
        [(table, true), ..] | [(table, false)] => table,
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "{shown} has several tables of revisions: {}\nhint: give the schema of yours in the URL: \
                 `?options=-csearch_path%3Dschema`",
                names.join(", ")
            )
        }
    };
    let rows =
        client.query(&format!("SELECT version_num::text FROM {table} ORDER BY 1"), &[]).map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How to connect; what the URL does not say comes from the environment, then from libpq's defaults.
fn configuration(url: &str, shown: &str) -> Result<(Config, Tls)> {
    let (mut config, tls) = parse(url).with_context(|| format!("the database URL is {shown}"))?;
    if config.get_hosts().is_empty() {
        match config.get_hostaddrs() {
            [] => config.host(&default_host(port(&config))),
            addresses => {
                // By its name, a server is asked for encryption.
                let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                names.iter().fold(&mut config, |config, name| config.host(name))
            }
        };
    }
    if config.get_password().is_none()
        && let Ok(password) = env::var("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    Ok((config, tls))
}

fn connect(config: &mut Config, tls: &Tls, shown: &str) -> Result<Client> {
    config.application_name("safemig");
    tls.connect(config).map_err(|failures| {
        let reasons: Vec<String> = failures.iter().map(reason).collect();
        let hint = failures.iter().find_map(tls::hint).unwrap_or("check the URL");
        anyhow!("could not connect to {shown}: {}\nhint: {hint}", reasons.join("; "))
    })
}

fn port(config: &Config) -> u16 {
    config.get_ports().first().copied().unwrap_or(5432)
}

/// Where libpq connects to if it isn't told: a socket, in a directory that the distribution chose.
fn default_host(port: u16) -> String {
    env::var("PGHOST").ok().filter(|host| !host.is_empty()).unwrap_or_else(|| {
        let socket = format!(".s.PGSQL.{port}");
        let directories = ["/var/run/postgresql", "/tmp"];
        let found = directories.into_iter().find(|directory| Path::new(directory).join(&socket).exists());
        found.unwrap_or("localhost").to_owned()
    })
}

/// The URL for messages. Rather hides too much when a password contains what should be escaped.
fn without_password(url: &str) -> String {
    let mut url = url.to_owned();
    if let Some(at) = url.find("password=").map(|at| at + "password=".len()) {
        let end = url[at..].find('&').map_or(url.len(), |length| at + length);
        url.replace_range(at..end, "***");
    }
    let user = url.find("://").map_or(0, |at| at + 3);
    if let Some(end) = url.rfind('@').filter(|end| *end > user)
        && let Some(colon) = url[user..end].find(':')
    {
        url.replace_range(user + colon + 1..end, "***");
    }
    url
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn databases(server: &Server) -> Vec<String> {
        let sql = "SELECT datname::text FROM pg_database WHERE datname LIKE 'safemig%' ORDER BY oid";
        server.admin().query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    fn server() -> Server {
        Server::embedded(None).unwrap()
    }

    #[test]
    fn databases_are_made_cloned_and_dropped() {
        let server = server();
        assert!(server.is_superuser());
        let template = server.create("A template!").unwrap();
        assert!(template.name().ends_with("_a_template_"), "{}", template.name());
        template.run("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 1000)").unwrap();
        let clone = server.clone_of(&template, "clone").unwrap();
        let mut client = clone.connect().unwrap();
        let row = client
            .query_one(
                "SELECT count(*), current_setting('lock_timeout'), current_setting('lc_messages'),
                     current_setting('server_encoding'), current_setting('application_name'),
                     current_database()::text
                 FROM t",
                &[],
            )
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 1000);
        let settings: Vec<String> = (1..6).map(|column| row.get(column)).collect();
        assert_eq!(settings, ["1min", "C", "UTF8", "safemig", clone.name()]);
        assert_eq!(databases(&server), [template.name(), clone.name()]);

        let error = clone.run("SELECT FROM missing").unwrap_err();
        let error = error.downcast::<postgres::Error>().unwrap();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));

        // Its client is still connected.
        drop(clone);
        drop(template);
        assert_eq!(databases(&server), [""; 0]);
    }

    #[test]
    fn a_template_in_use_is_freed() {
        let server = server();
        let template = server.create("template").unwrap();
        let started = Instant::now();
        for _ in 0..20 {
            template.run("SELECT 1").unwrap();
            server.clone_of(&template, "clone").unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

        let mut forgotten = template.connect().unwrap();
        let started = Instant::now();
        server.clone_of(&template, "clone").unwrap();
        assert!(started.elapsed() > CLOSING);
        assert!(forgotten.batch_execute("SELECT 1").is_err());
    }

    #[test]
    fn sessions_are_terminated_from_another_thread() {
        let server = server();
        let database = server.create("sleep").unwrap();
        let mut client = database.connect().unwrap();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        thread::scope(|scope| {
            scope.spawn(|| server.terminate(pid).unwrap());
            let error = client.batch_execute("SELECT pg_sleep(60)").unwrap_err();
            assert!(error.code().is_none_or(|code| *code == SqlState::ADMIN_SHUTDOWN), "{error}");
        });
        // There is none any more.
        server.terminate(pid).unwrap();
    }

    #[test]
    fn a_database_says_what_has_run_there() {
        let server = server();
        let database = server.create("stamps").unwrap();
        let Value::String(directory) = database.parameters()["host"].take() else {
            panic!("the host is missing");
        };
        let url = |options: &str| {
            format!("postgresql+psycopg2://postgres@/{}?host={directory}{options}", database.name())
        };
        let stamps = || current_revisions(&url(""));
        database.run("CREATE TABLE t (i int); CREATE TABLE u (version_num text, i int)").unwrap();
        assert_eq!(stamps().unwrap(), [""; 0]);
        let versions = |table: &str| format!("CREATE TABLE {table} (version_num varchar(32) PRIMARY KEY);");
        database.run(&format!("CREATE SCHEMA \"B c\"; {}", versions("\"B c\".stamps"))).unwrap();
        database.run("INSERT INTO \"B c\".stamps VALUES ('b'), ('a')").unwrap();
        assert_eq!(stamps().unwrap(), ["a", "b"], "another name, if it is the only one");
        database.run(&format!("CREATE SCHEMA d; {}", versions("d.alembic_version"))).unwrap();
        let error = stamps().unwrap_err().to_string();
        assert!(
            error.contains("several tables of revisions: \"B c\".stamps, d.alembic_version\nhint: "),
            "{error}"
        );
        assert_eq!(current_revisions(&url("&options=-csearch_path%3Dd")).unwrap(), [""; 0]);
        database
            .run(&format!("{} INSERT INTO alembic_version VALUES ('c')", versions("alembic_version")))
            .unwrap();
        assert_eq!(stamps().unwrap(), ["c"]);
        let error = current_revisions("postgresql://postgres:secret@localhost:1/x").unwrap_err().to_string();
        assert!(error.starts_with("could not connect to ") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn servers_at_a_url() {
        let private = server();
        let Value::String(directory) = private.create("x").unwrap().parameters()["host"].take() else {
            panic!("the host is missing");
        };
        let escaped = directory.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        for url in [
            format!("postgresql://postgres@{escaped}/postgres?sslmode=prefer"),
            format!("postgresql+psycopg2://postgres:p%40w@/postgres?host={directory}&gssencmode=disable"),
            format!("postgres://postgres@/?host={escaped}&port=5432"),
        ] {
            let server = Server::at(&url).unwrap();
            assert_eq!(server.version(), private.version());
            let database = server.create("url").unwrap();
            database.run("CREATE TABLE t ()").unwrap();
            let parameters = database.parameters();
            assert_eq!(parameters["host"], directory);
            assert_eq!(parameters["port"], "5432");
            assert_eq!(parameters["user"], "postgres");
            assert_eq!(parameters["database"], database.name());
            if url.contains("p%40w") {
                assert_eq!(parameters["password"], "p@w");
            }
        }
        assert_eq!(databases(&private), [""; 0]);

        private.admin().batch_execute("CREATE ROLE weak LOGIN; CREATE ROLE maker LOGIN CREATEDB").unwrap();
        let error = Server::at(&format!("postgresql://weak@{escaped}/postgres")).err().unwrap().to_string();
        assert!(error.contains("`weak`") && error.contains("CREATEDB"), "{error}");

        let server = Server::at(&format!("postgresql://maker@{escaped}/postgres")).unwrap();
        assert!(!server.is_superuser());
        let template = server.create("url").unwrap();
        let forgotten = template.connect().unwrap();
        let clone = server.clone_of(&template, "clone").unwrap();
        drop((clone, template, forgotten));
        assert_eq!(databases(&private), [""; 0]);
    }

    #[test]
    fn urls_that_lead_nowhere() {
        for (url, expected) in [
            (
                "postgresql://u:secret@localhost:1/d",
                "could not connect to postgresql://u:***@localhost:1/d: ",
            ),
            ("postgresql+asyncpg://u:secret@h/d?ssl=secure", "there is no `sslmode=secure`"),
            ("driver://u:secret@localhost/d", "it is not a PostgreSQL URL"),
            ("postgresql://u:secret@h:port/d", "invalid"),
        ] {
            let error = format!("{:#}", Server::at(url).err().unwrap());
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn passwords_are_hidden() {
        for (url, expected) in [
            ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
            ("postgresql://u:p:/?@x@h:1/d?a=b", "postgresql://u:***@h:1/d?a=b"),
            ("postgresql://h:1/d?password=p@x&user=u", "postgresql://h:1/d?password=***&user=u"),
            ("postgresql://u@h:1/d", "postgresql://u@h:1/d"),
            ("u:p@h", "u:***@h"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }

    #[test]
    fn names_are_short() {
        let name = new_name(&"Ä purpose".repeat(20));
        assert_eq!(name.len(), 63);
        assert_ne!(new_name("x"), new_name("x"));
    }
}
