//! A private PostgreSQL cluster that lives as long as the program.
//!
//! **Invariant: however the program ends, neither a server nor a directory stays behind.** Ctrl-C or
//! SIGKILL leave no time for cleaning up, so that is the job of a *guardian*: a shell that holds the
//! other end of a pipe. The pipe closes when the cluster is dropped or when this process is gone for
//! whatever reason; then the guardian stops the server and removes its directory.

#![cfg_attr(not(unix), allow(dead_code, reason = "no cluster can be started there"))]

use std::cmp::Reverse;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Result, anyhow, bail};
use tempfile::TempDir;

/// The bin directory to take the server's programs from, instead of looking for one.
const BIN_VARIABLE: &str = "SAFEMIG_PG_BIN";

/// Where distributions put the programs: a directory, the beginning of names in it, what follows.
/// An empty beginning means any name. Debian, SUSE, Alpine, Red Hat, a build from source, Homebrew on
/// ARM and on Intel, Postgres.app.
const PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr", "pgsql-", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Arguments: the cluster's directory, the bin directory, the settings. Says `ready`, or why not.
///
/// PIPE is ignored because the reader of `ready` may already be gone. Nothing that goes on running
/// may hold the standard output, whose end is waited for.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP QUIT PIPE
dir=$1 bin=$2 settings=$3
init() {
    "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale="$1" --no-sync
}
start() {
    { init C.UTF-8 || init C; } >"$dir/output" 2>&1 &&
        printf '%s\n' "$settings" >>"$dir/data/postgresql.conf" &&
        "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -s start >>"$dir/output" 2>&1
}
if start </dev/null 2>&1; then echo ready; else cat "$dir/output" "$dir/log" | tail -n 20; fi
exec >/dev/null
cat
"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop
rm -rf "$dir"
"#;

/// Nothing here has to survive a crash, and nothing may happen that the migrations did not ask for.
/// A migration of a large schema takes a lock on each of its tables in one transaction.
const SETTINGS: &str = "
listen_addresses = ''
port = 5432
max_connections = 60
max_locks_per_transaction = 512
deadlock_timeout = 200ms
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
min_wal_size = 32MB
max_wal_size = 128MB
checkpoint_warning = 0
log_checkpoints = off
log_min_messages = warning
lc_messages = 'C'
autovacuum = off
track_counts = on
jit = off
";

/// A running cluster, reachable through a socket in its directory as the superuser `postgres`.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// PostgreSQL's major version.
    pub(crate) version: u32,
    guardian: Child,
    // After the guardian, which may lack the permission to remove the directory itself.
    directory: TempDir,
}

impl Cluster {
    /// Makes and starts a cluster of the given major version, or of the newest that is installed.
    ///
    /// # Errors
    /// No such PostgreSQL is installed; the program runs as root and there is no user `postgres`
    /// (the server refuses to run as root); or the server did not start.
    #[cfg(unix)]
    pub(crate) fn start(version: Option<u32>) -> Result<Self> {
        Self::start_with(version, "")
    }

    /// Likewise, with `settings` of `postgresql.conf` in addition to ours.
    #[cfg(unix)]
    pub(super) fn start_with(version: Option<u32>, settings: &str) -> Result<Self> {
        use std::io::Read as _;
        use std::os::unix::fs::{MetadataExt as _, chown};
        use std::os::unix::process::CommandExt as _;
        use std::process::Stdio;

        use anyhow::Context as _;

        let programs = find(version)?;
        let directory = temporary_directory()?;
        let path = directory.path();
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARDIAN, "guardian"])
            .args([path, &programs.bin])
            .arg(format!("{SETTINGS}unix_socket_directories = '\"{}\"'\n{settings}", path.display()))
            // The server's user may not be allowed to enter ours.
            .current_dir("/")
            // Neither Ctrl-C in the terminal nor a signal to our whole group is meant for it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        programs.prepare(&mut command);
        // Only root's files belong to root; asking for the user id itself would take unsafe code.
        if path.metadata()?.uid() == 0 {
            let (user, group) = (server_user("-u")?, server_user("-g")?);
            chown(path, Some(user), Some(group))
                .with_context(|| format!("could not give {} to the user postgres", path.display()))?;
            command.uid(user).gid(group);
        }
        let guardian = command.spawn().context("could not run `sh`")?;
        let mut cluster = Self { version: programs.version, guardian, directory };
        let mut said = String::new();
        if let Some(mut output) = cluster.guardian.stdout.take() {
            output.read_to_string(&mut said).context("could not read what PostgreSQL says")?;
        }
        if said.trim() != "ready" {
            bail!(
                "PostgreSQL {} of {} did not start:\n{}\n\
                 hint: choose another with {BIN_VARIABLE}, or name a running server with `--database-url`",
                cluster.version,
                programs.bin.display(),
                said.trim_end()
            );
        }
        Ok(cluster)
    }

    /// # Errors
    /// Always: only Unix is supported.
    #[cfg(not(unix))]
    pub(crate) fn start(_version: Option<u32>) -> Result<Self> {
        bail!(
            "safemig can start a PostgreSQL of its own only on Unix\n\
             hint: name a running server with `--database-url`"
        );
    }

    /// Where the socket is: the `host` to connect to.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Closes the guardian's standard input first. Nobody could be told about an error.
        let _ = self.guardian.wait();
    }
}

/// A directory with the server's programs.
#[derive(Debug)]
struct Programs {
    bin: PathBuf,
    version: u32,
}

impl Programs {
    /// `None`: the directory does not have all programs, or they don't run.
    fn in_directory(bin: &Path) -> Option<Self> {
        let bin = bin.canonicalize().ok()?;
        if !["initdb", "pg_ctl", "postgres"].iter().all(|name| bin.join(name).is_file()) {
            return None;
        }
        let mut programs = Self { bin, version: 0 };
        let mut command = Command::new(programs.bin.join("postgres"));
        programs.prepare(command.arg("--version"));
        programs.version = major_version(&String::from_utf8_lossy(&command.output().ok()?.stdout))?;
        Some(programs)
    }

    /// Sets the environment that the programs need: none of the settings that are meant for clients,
    /// messages in English, and the libraries of a bundle that can be unpacked anywhere.
    fn prepare(&self, command: &mut Command) {
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        if let Some(path) = self.library_path() {
            command.env("LD_LIBRARY_PATH", path);
        }
    }

    fn library_path(&self) -> Option<OsString> {
        let libraries = self.bin.parent()?.join("lib");
        let is_libpq = |name: OsString| name.to_string_lossy().starts_with("libpq.so");
        if libraries.starts_with("/usr")
            || !fs::read_dir(&libraries).ok()?.flatten().any(|entry| is_libpq(entry.file_name()))
        {
            return None;
        }
        let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        env::join_paths([libraries].into_iter().chain(env::split_paths(&others))).ok()
    }
}

/// The programs of a major version; without one, the newest. Of several with the same, the first.
fn find(version: Option<u32>) -> Result<Programs> {
    let found: Vec<_> = if let Some(bin) = env::var_os(BIN_VARIABLE).filter(|value| !value.is_empty()) {
        let bin = PathBuf::from(bin);
        let programs = Programs::in_directory(&bin).ok_or_else(|| {
            anyhow!(
                "{BIN_VARIABLE} is {}, which has no `initdb`, `pg_ctl` and `postgres` that run\n\
                 hint: it is the directory that `pg_config --bindir` prints",
                bin.display()
            )
        })?;
        vec![programs]
    } else {
        candidates().iter().filter_map(|bin| Programs::in_directory(bin)).collect()
    };
    let others: Vec<_> = found.iter().map(|one| format!("{} ({})", one.version, one.bin.display())).collect();
    let chosen = found
        .into_iter()
        .filter(|one| version.is_none_or(|wanted| wanted == one.version))
        .min_by_key(|one| Reverse(one.version));
    chosen.ok_or_else(|| {
        let problem = match version {
            Some(wanted) if others.is_empty() => format!("PostgreSQL {wanted} is not installed"),
            Some(wanted) => format!("PostgreSQL {wanted} is not installed; found {}", others.join(", ")),
            None => "PostgreSQL is not installed".to_owned(),
        };
        let how = how_to_install(&fs::read_to_string("/etc/os-release").unwrap_or_default());
        anyhow!(
            "{problem}\nhint: {how}, point {BIN_VARIABLE} to its programs, \
             or name a running server with `--database-url`"
        )
    })
}

fn candidates() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        directories.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    for (parent, beginning, rest) in PLACES {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let matching = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning));
        directories.extend(matching.map(|entry| entry.path().join(rest)));
    }
    directories.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    directories
}

/// The major version in what `postgres --version` prints.
fn major_version(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
}

/// What to do to get a server, on the system that an `os-release` file describes.
fn how_to_install(os_release: &str) -> &'static str {
    if cfg!(target_os = "macos") {
        return "run `brew install postgresql@17`";
    }
    let names = os_release.lines().filter_map(|line| {
        let value = line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE="))?;
        Some(value.trim_matches(['"', '\'']))
    });
    names
        .flat_map(str::split_whitespace)
        .find_map(|name| match name {
            "debian" | "ubuntu" => Some("run `apt-get install postgresql`"),
            "fedora" | "rhel" | "centos" => Some("run `dnf install postgresql-server`"),
            "alpine" => Some("run `apk add postgresql`"),
            _ => None,
        })
        .unwrap_or("install PostgreSQL's server")
}

/// An empty directory whose name is short, since the path of a socket has at most 103 bytes, and
/// without characters that `pg_ctl` forgets to quote.
#[cfg(unix)]
fn temporary_directory() -> Result<TempDir> {
    use anyhow::Context as _;

    let new_in = |parent: &Path| tempfile::Builder::new().prefix("safemig-").tempdir_in(parent);
    // Copying a database is five times faster in memory. Who says where temporary files go is obeyed.
    let memory = Path::new("/dev/shm");
    if env::var_os("TMPDIR").is_none()
        && free_kibibytes(memory).is_some_and(|free| free > 1 << 20)
        && let Ok(directory) = new_in(memory)
    {
        return Ok(directory);
    }
    let mut parent = env::temp_dir();
    if parent.to_str().is_none_or(|path| path.len() > 70 || path.contains(['\'', '"', '\\', '$', '`'])) {
        parent = PathBuf::from("/tmp");
    }
    new_in(&parent).with_context(|| format!("could not make a directory in {}", parent.display()))
}

#[cfg(unix)]
fn free_kibibytes(directory: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// The user id (`-u`) or group id (`-g`) of the user `postgres`.
#[cfg(unix)]
fn server_user(which: &str) -> Result<u32> {
    let output = Command::new("id").args([which, "postgres"]).output().ok();
    output.and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok()).ok_or_else(|| {
        anyhow!(
            "PostgreSQL refuses to run as root, and there is no user postgres to run it as\n\
             hint: do not run safemig as root, or run `useradd --system postgres`"
        )
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{self, BufRead as _, BufReader, Write as _};
    use std::os::unix::process::CommandExt as _;
    use std::process::Stdio;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 12.22\n", Some(12)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 17devel", Some(17)),
            ("cannot execute", None),
        ] {
            assert_eq!(major_version(text), expected, "{text}");
        }
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn installing() {
        for (os_release, expected) in [
            ("ID=debian\n", "apt-get"),
            ("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf"),
            ("ID=alpine", "apk"),
            ("ID=other", "install PostgreSQL's server"),
        ] {
            assert!(how_to_install(os_release).contains(expected), "{os_release}");
        }
    }

    #[test]
    fn says_which_versions_there_are() {
        let error = find(Some(7)).unwrap_err().to_string();
        assert!(error.starts_with("PostgreSQL 7 is not installed; found "), "{error}");
        assert!(error.contains("--database-url"), "{error}");
    }

    #[test]
    fn vanishes_when_dropped() {
        let cluster = Cluster::start(None).unwrap();
        let directory = cluster.directory().to_path_buf();
        assert!(directory.join(".s.PGSQL.5432").exists());
        let pid = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        drop(cluster);
        assert!(!directory.exists());
        // It removes the file with its process id a little before it ends.
        let alive = || Command::new("kill").args(["-0", pid]).output().unwrap().status.success();
        wait_until(|| !alive());
    }

    fn wait_until(done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(20), "nothing happens");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What [`vanishes_when_killed`] kills.
    #[test]
    #[ignore = "waits to be killed"]
    fn owner() {
        let cluster = Cluster::start(None).unwrap();
        // Not captured by the test harness.
        writeln!(io::stdout(), "\ndirectory={}", cluster.directory().display()).unwrap();
        thread::sleep(Duration::from_mins(1));
    }

    #[test]
    fn vanishes_when_killed() {
        for signal in ["-INT", "-TERM", "-KILL"] {
            let mut owner = Command::new(env::current_exe().unwrap())
                .args(["--exact", "verify::cluster::tests::owner", "--ignored"])
                .process_group(0)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
            let directory =
                lines.find_map(|line| line.strip_prefix("directory=").map(PathBuf::from)).unwrap();
            assert!(directory.join(".s.PGSQL.5432").exists());
            // As Ctrl-C does: to the whole process group.
            let group = format!("-{}", owner.id());
            assert!(Command::new("kill").args([signal, "--", &group]).status().unwrap().success());
            assert!(!owner.wait().unwrap().success());
            wait_until(|| !directory.exists());
        }
    }
}
