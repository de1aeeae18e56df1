//! The command line.

use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

/// Check and repair a logfs file system.
///
/// Without -a, -n or -y it asks about each problem if it runs on a terminal, and writes nothing if it
/// doesn't.
///
/// Exit status: the sum of 0 (no problems), 1 (problems were corrected), 4 (problems were left), 8
/// (the check could not be done), 16 (wrong usage), 32 (cancelled), 128 (a shared library is
/// missing).
#[derive(Debug, Parser)]
#[command(
    name = "fsck.logfs",
    bin_name = "fsck.logfs",
    version,
    disable_version_flag = true
)]
pub(crate) struct Cli {
    /// Repair without questions what is safe, for use at boot: if a problem is not, nothing is
    /// written and the status is 4. A device in use is left alone
    #[arg(short = 'a', visible_short_alias = 'p', long, conflicts_with_all = ["no", "yes"])]
    pub(crate) auto: bool,

    /// Write nothing: answer no to everything
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub(crate) no: bool,

    /// Answer yes to everything
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    /// Check even if the file system says that it is clean
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Read all file data and compare it with its checksums; implies -f
    #[arg(long)]
    pub(crate) check_data: bool,

    /// Use the superblock copy at this block
    #[arg(short = 'b', long, value_name = "BLOCK")]
    pub(crate) superblock: Option<u64>,

    /// Tell more
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Tell how long it took
    #[arg(short = 't', long)]
    pub(crate) timing: bool,

    /// Show progress: lines `pass current max device` on this file descriptor, a bar for 0
    #[arg(short = 'C', value_name = "FD", allow_negative_numbers = true)]
    pub(crate) progress_fd: Option<i32>,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Ignored, as fsck(8) may pass it
    #[arg(short = 'T', hide = true)]
    title: bool,

    /// Ignored: questions are asked unless an option answers them
    #[arg(short = 'r', hide = true)]
    interactive: bool,

    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// The block device or image file
    pub(crate) device: PathBuf,
}

/// What the user answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    Safe,
    No,
    Ask,
}

impl Cli {
    /// Parses arguments. `-C` without a number, as e2fsck's users know it from fsck(8), means 0.
    pub(crate) fn parse_from_args(
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Cli, clap::Error> {
        let mut args = args.into_iter().peekable();
        let mut out = Vec::new();
        while let Some(arg) = args.next() {
            let bare = arg == "-C"
                && !args.peek().is_some_and(|next| {
                    next.to_str()
                        .is_some_and(|next| next.parse::<i32>().is_ok())
                });
            out.push(if bare { "-C0".into() } else { arg });
        }
        Cli::try_parse_from(out)
    }

    pub(crate) fn answer(&self) -> Answer {
        match (self.auto, self.yes, self.no) {
            (true, _, _) => Answer::Safe,
            (_, true, _) => Answer::Yes,
            (_, _, true) => Answer::No,
            _ => Answer::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Cli {
        let args = std::iter::once("fsck.logfs").chain(args.iter().copied());
        Cli::parse_from_args(args.map(Into::into)).unwrap()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_progress_descriptor_is_optional() {
        assert_eq!(parse(&["-C", "dev"]).progress_fd, Some(0));
        assert_eq!(parse(&["-C0", "dev"]).progress_fd, Some(0));
        assert_eq!(parse(&["-C", "5", "dev"]).progress_fd, Some(5));
        assert_eq!(parse(&["-C", "-1", "dev"]).progress_fd, Some(-1));
        assert_eq!(parse(&["dev"]).progress_fd, None);
    }

    #[test]
    fn options_come_as_fsck_passes_them() {
        assert!(parse(&["-p", "dev"]).auto);
        assert!(parse(&["-T", "-fy", "dev"]).force);
    }
}
