//! What the user sees and answers while a check runs.

use crate::cli::{Answer, Cli};
use fsck_logfs::{Finding, Observer, PASSES, Remedy};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status of a check that the user has ended.
pub(crate) const CANCELLED: i32 = 32;

const BAR_COLUMNS: u64 = 40;

/// Where progress goes.
enum Meter {
    Bar,
    Lines(File),
}

/// The watcher of the command.
pub(crate) struct Watch {
    device: PathBuf,
    answer: Answer,
    /// Nothing but JSON goes to standard output.
    is_quiet: bool,
    meter: Meter,
    is_shown: bool,
    /// The last progress shown, so that it is not shown again: pass and thousandths.
    last: (u32, u64),
    cancel: Arc<AtomicBool>,
    at_question: Arc<AtomicBool>,
    show: Arc<AtomicBool>,
    hide: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn new(cli: &Cli) -> io::Result<Watch> {
        let meter = match cli.progress_fd {
            Some(fd) if fd > 0 => {
                let path = format!("/dev/fd/{fd}");
                Meter::Lines(OpenOptions::new().write(true).open(path)?)
            }
            _ => Meter::Bar,
        };
        let watch = Watch {
            device: cli.device.clone(),
            answer: cli.answer(),
            is_quiet: cli.json,
            meter,
            is_shown: cli.progress_fd.is_some_and(|fd| fd >= 0),
            last: (0, 0),
            cancel: Arc::default(),
            at_question: Arc::default(),
            show: Arc::default(),
            hide: Arc::default(),
        };
        for signal in [SIGINT, SIGTERM] {
            // At a question nothing is under way: the process may just end.
            let at_question = Arc::clone(&watch.at_question);
            flag::register_conditional_shutdown(signal, CANCELLED, at_question)?;
            flag::register(signal, Arc::clone(&watch.cancel))?;
        }
        flag::register(SIGUSR1, Arc::clone(&watch.show))?;
        flag::register(SIGUSR2, Arc::clone(&watch.hide))?;
        Ok(watch)
    }

    fn draw(&mut self, pass: u32, current: u64, max: u64) -> io::Result<()> {
        match &mut self.meter {
            Meter::Lines(file) => {
                writeln!(file, "{pass} {current} {max} {}", self.device.display())
            }
            Meter::Bar if self.is_quiet || !io::stdout().is_terminal() => Ok(()),
            Meter::Bar => {
                let filled = (BAR_COLUMNS * current)
                    .checked_div(max)
                    .unwrap_or(BAR_COLUMNS);
                let bar = "=".repeat(filled as usize);
                let width = BAR_COLUMNS as usize;
                let mut out = io::stdout().lock();
                write!(out, "\rpass {pass} of {PASSES} [{bar:width$}]")?;
                out.flush()
            }
        }
    }

    /// Takes the bar away, so that other lines can be printed.
    fn clear(&mut self) {
        if self.last.0 > 0 && matches!(self.meter, Meter::Bar) && io::stdout().is_terminal() {
            print!("\r\x1b[K");
        }
    }
}

impl Observer for Watch {
    fn progress(&mut self, pass: u32, current: u64, max: u64) {
        if self.show.swap(false, Ordering::Relaxed) {
            self.is_shown = true;
        }
        if self.hide.swap(false, Ordering::Relaxed) {
            self.is_shown = false;
            self.clear();
        }
        let thousandths = current
            .saturating_mul(1000)
            .checked_div(max)
            .unwrap_or(1000);
        if !self.is_shown || (pass, thousandths) == self.last {
            return;
        }
        self.last = (pass, thousandths);
        if self.draw(pass, current, max).is_err() {
            // Whoever wanted to see it has gone.
            self.is_shown = false;
        }
        if pass == PASSES && current == max {
            self.clear();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn approve(&mut self, finding: &Finding) -> bool {
        if self.answer != Answer::Ask || self.is_quiet || !io::stdin().is_terminal() {
            return true;
        }
        self.clear();
        self.at_question.store(true, Ordering::Relaxed);
        let answer = ask(finding);
        self.at_question.store(false, Ordering::Relaxed);
        match answer.as_deref() {
            Ok("a" | "all") => {
                self.answer = Answer::Yes;
                true
            }
            Ok("y" | "yes") => true,
            _ => false,
        }
    }
}

/// Whether there is somebody to answer questions.
pub(crate) fn can_ask(cli: &Cli) -> bool {
    !cli.json && io::stdin().is_terminal()
}

fn ask(finding: &Finding) -> io::Result<String> {
    let mut out = io::stdout().lock();
    let remedy = finding.problem.remedy();
    let warning = match remedy {
        Remedy::Loss(_) => " Data may be lost.",
        _ => "",
    };
    let action = remedy.action().unwrap_or("left");
    write!(
        out,
        "{finding}\n  Remedy: {action}.{warning} Do it? (y, N, a for all) "
    )?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_ascii_lowercase())
}
