//! Mount options of logfs.

use crate::corrupt::OnError;
use bento_api::{Env, Errno, Level, Result};

/// What `mount -o` said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// `errors=`: what to do when damage is found.
    pub(crate) on_error: OnError,
    /// `norecovery`: mount read-only without looking at the log.
    pub(crate) no_recovery: bool,
    /// `commit=`: seconds after which changes are made durable.
    pub(crate) commit_seconds: u64,
    /// `discard`: the device is told of what is freed.
    pub(crate) discard: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            on_error: OnError::RemountReadOnly,
            no_recovery: false,
            commit_seconds: 5,
            discard: false,
        }
    }
}

impl Options {
    /// Reads options on top of `self`; unknown ones are refused with `EINVAL`.
    pub(crate) fn parse<E: Env>(mut self, env: &E, text: &[u8]) -> Result<Options> {
        for option in text
            .split(|&byte| byte == b',')
            .filter(|option| !option.is_empty())
        {
            match option {
                b"errors=remount-ro" => self.on_error = OnError::RemountReadOnly,
                b"errors=shutdown" => self.on_error = OnError::Shutdown,
                b"errors=continue" => self.on_error = OnError::Continue,
                b"discard" => self.discard = true,
                b"nodiscard" => self.discard = false,
                b"norecovery" => self.no_recovery = true,
                // States that are shown among the options: mount(8) hands back all it sees when it
                // remounts.
                b"emergency_ro" | b"shutdown" => {}
                _ => self.parse_number(env, option)?,
            }
        }
        Ok(self)
    }

    fn parse_number<E: Env>(&mut self, env: &E, option: &[u8]) -> Result<()> {
        let text = core::str::from_utf8(option).unwrap_or("(not UTF-8)");
        if let Some(seconds) = text.strip_prefix("commit=")
            && let Ok(seconds) = seconds.parse::<u64>()
            && (1..=3600).contains(&seconds)
        {
            self.commit_seconds = seconds;
            return Ok(());
        }
        env.log(
            Level::Error,
            format_args!(
                "unknown mount option \"{text}\"; there are errors=remount-ro|shutdown|continue, \
                 commit=SECONDS, discard, nodiscard and norecovery"
            ),
        );
        Err(Errno::EINVAL)
    }
}
