//! Databases.

use crate::input::Input;
use crate::program::{program, run};
use crate::stage::{Stage, Work};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

pub(super) fn sqlite_rollback(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    sqlite(stage, "insert", "DELETE")
}

pub(super) fn sqlite_wal(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    sqlite(stage, "insert", "WAL")
}

/// Inserts rows, each a transaction that is durable when it has ended.
pub(super) fn sqlite(stage: &mut Stage<'_>, step: &str, journal_mode: &str) -> Result<()> {
    let count = stage.scaled(1000, 50);
    let mut statements = format!(
        "PRAGMA journal_mode={journal_mode};\nPRAGMA synchronous=FULL;\n\
         CREATE TABLE entries (id INTEGER PRIMARY KEY, name TEXT, value BLOB);\n"
    );
    for number in 0..count {
        writeln!(
            statements,
            "INSERT INTO entries (name, value) VALUES ('entry {number}', randomblob(100));"
        )?;
    }
    let amount = format!("{count} inserts");
    stage.read(step, amount, Work::Operations(count), |root| {
        feed_sqlite(&root.join(step), &statements)
    })
}

fn feed_sqlite(database: &Path, statements: &str) -> Result<()> {
    let mut sqlite = program("sqlite3", ["-batch", "-bail"])
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run `sqlite3`; is it installed?")?;
    let fed = match sqlite.stdin.take() {
        Some(mut input) => input.write_all(statements.as_bytes()),
        None => Ok(()),
    };
    let status = sqlite.wait()?;
    ensure!(status.success(), "`sqlite3` ended with {status}");
    Ok(fed?)
}

/// PostgreSQL as it comes, with its own benchmark: 10 clients, TPC-B-like transactions.
pub(super) fn pgbench(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    const CLIENTS: usize = 10;
    let per_client = stage.scaled(300, 20);
    let postgres = Postgres::start(stage.directory())?;
    postgres.run("createdb", &["bench"])?;
    postgres.run(
        "pgbench",
        &["--quiet", "--initialize", "--scale=5", "bench"],
    )?;
    let count = CLIENTS * per_client;
    stage.read(
        "transactions",
        format!("{count} transactions, {CLIENTS} clients, scale 5"),
        Work::Operations(count),
        |_| {
            let transactions = format!("--transactions={per_client}");
            let clients = format!("--client={CLIENTS}");
            postgres.run(
                "pgbench",
                &["--no-vacuum", &clients, &transactions, "bench"],
            )
        },
    )
}

/// A server with its data on the file system under test. It refuses to run as root.
struct Postgres {
    programs: PathBuf,
    data: PathBuf,
}

impl Postgres {
    fn start(root: &Path) -> Result<Postgres> {
        let found = run(&mut program("pg_config", ["--bindir"]))
            .context("PostgreSQL's programs are not there")?;
        let postgres = Postgres {
            programs: PathBuf::from(String::from_utf8(found)?.trim()),
            data: root.join("postgres"),
        };
        std::fs::create_dir(&postgres.data)?;
        run(program("chown", ["postgres"]).arg(&postgres.data))?;
        let data = postgres.data.display().to_string();
        postgres.run("initdb", &["--auth=trust", "--pgdata", &data])?;
        let log = postgres.data.join("log").display().to_string();
        let options = "-c listen_addresses='' -c unix_socket_directories=/tmp";
        postgres.run(
            "pg_ctl",
            &[
                "--pgdata",
                &data,
                "--log",
                &log,
                "--options",
                options,
                "--wait",
                "start",
            ],
        )?;
        Ok(postgres)
    }

    /// Runs a program of PostgreSQL's as its user.
    fn run(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let user = [
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "env",
            "PGHOST=/tmp",
        ];
        let mut command = program("setpriv", user);
        command
            .arg(self.programs.join(name))
            .args(arguments)
            .current_dir("/");
        run(&mut command).map(drop)
    }
}

impl Drop for Postgres {
    /// However it ended, the next file system wants the device.
    fn drop(&mut self) {
        let data = self.data.display().to_string();
        let stop = ["--pgdata", &data, "--mode=fast", "--wait", "stop"];
        if let Err(error) = self.run("pg_ctl", &stop) {
            eprintln!("bench: {error:#}");
        }
    }
}
