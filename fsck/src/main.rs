//! `fsck.logfs`: checks and repairs a logfs file system.
#![forbid(unsafe_code)]

mod cli;
mod print;
mod watch;

use bento_host::{FileDevice, HostEnv};
use cli::{Answer, Cli};
use fsck_logfs::{Failure, Mode, Options};
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Instant;
use watch::{CANCELLED, Watch};

// Exit statuses besides those of a report: see fsck(8).
const FAILED: u8 = 8;
const USAGE: u8 = 16;

fn main() -> ExitCode {
    let cli = match Cli::parse_from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // What can't be printed can't be helped.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if cli.verbose {
        log::set_max_level(log::LevelFilter::Info);
    } else {
        log::set_max_level(log::LevelFilter::Warn);
    }
    // The only logger of this process.
    let _ = log::set_logger(&StandardError);
    let started = Instant::now();
    let code = run(&cli);
    if cli.timing && !cli.json {
        println!("{:.2} seconds", started.elapsed().as_secs_f64());
    }
    ExitCode::from(code)
}

fn run(cli: &Cli) -> u8 {
    let name = cli.device.display();
    let mode = mode(cli);
    let device = match FileDevice::open(&cli.device, mode == Mode::Check) {
        Ok(device) => device,
        Err(error) if cli.auto && error.kind() == ErrorKind::ResourceBusy => {
            // At boot, this is the root file system: it has recovered its log when mounted.
            println!("{name}: in use, not checked");
            return 0;
        }
        Err(error) => {
            eprintln!("fsck.logfs: {name}: {error}");
            return FAILED;
        }
    };
    let mut watch = match Watch::new(cli) {
        Ok(watch) => watch,
        Err(error) => {
            eprintln!("fsck.logfs: progress: {error}");
            return FAILED;
        }
    };
    let env = HostEnv::new(device, &format!("logfs {name}"));
    let options = Options {
        force: cli.force || cli.check_data,
        mode,
        check_data: cli.check_data,
        superblock: cli.superblock,
    };
    match fsck_logfs::check(&env, &options, &mut watch) {
        Ok(report) => {
            if cli.json {
                println!("{:#}", print::json(cli, &report));
            } else {
                print::words(cli, &report);
            }
            report.exit_code()
        }
        Err(failure) => {
            eprintln!("fsck.logfs: {name}: {failure}");
            match failure {
                Failure::Cancelled => CANCELLED as u8,
                _ => FAILED,
            }
        }
    }
}

fn mode(cli: &Cli) -> Mode {
    match cli.answer() {
        Answer::No => Mode::Check,
        Answer::Safe => Mode::Preen,
        Answer::Yes => Mode::Repair,
        Answer::Ask if watch::can_ask(cli) => Mode::Repair,
        // Nobody is there to ask: only what a mount would do as well, or less.
        Answer::Ask => Mode::Check,
    }
}

/// Where messages of the file system's own code go.
struct StandardError;

impl log::Log for StandardError {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{}", record.args());
        }
    }

    fn flush(&self) {}
}
