//! A device with a few blocks in place of its own: to see what recovery would make of a checkpoint
//! that is not there.

use bento_api::{Device, Env, Errno, Geometry, Level, ReadRequest, Result, Time, WriteRequest};
use logfs_format::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// An [`Env`] whose device shows other contents at some addresses. Nothing can be written to it, and
/// what is logged goes nowhere.
#[derive(Clone)]
pub(crate) struct Overlay<E: Env> {
    shared: Arc<OverlayDevice<E>>,
}

impl<E: Env> Overlay<E> {
    pub(crate) fn new(env: &E, blocks: BTreeMap<u64, Vec<u8>>) -> Overlay<E> {
        Overlay {
            shared: Arc::new(OverlayDevice {
                env: env.clone(),
                blocks,
            }),
        }
    }
}

/// The device of an [`Overlay`].
pub(crate) struct OverlayDevice<E: Env> {
    env: E,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl<E: Env> Device for OverlayDevice<E> {
    fn geometry(&self) -> Geometry {
        Geometry {
            read_only: true,
            ..self.env.device().geometry()
        }
    }

    fn read(&self, requests: &mut [ReadRequest<'_>]) -> Result<()> {
        for request in requests {
            let address = request.offset_bytes / BLOCK_BYTES as u64;
            match self.blocks.get(&address) {
                Some(block) if request.buffer.len() == block.len() => {
                    request.buffer.copy_from_slice(block);
                }
                _ => self.env.device().read(&mut [ReadRequest {
                    offset_bytes: request.offset_bytes,
                    buffer: request.buffer,
                }])?,
            }
        }
        Ok(())
    }

    fn write(&self, _: &[WriteRequest<'_>]) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn write_durable(&self, _: &WriteRequest<'_>) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> Result<()> {
        Err(Errno::EROFS)
    }
}

impl<E: Env> Env for Overlay<E> {
    type Mutex<T: Send + 'static> = E::Mutex<T>;
    type RwLock<T: Send + Sync + 'static> = E::RwLock<T>;
    type Event = E::Event;
    type Device = OverlayDevice<E>;

    fn device(&self) -> &OverlayDevice<E> {
        &self.shared
    }

    fn now(&self) -> Time {
        self.shared.env.now()
    }

    fn monotonic_ns(&self) -> u64 {
        self.shared.env.monotonic_ns()
    }

    fn random(&self) -> u64 {
        self.shared.env.random()
    }

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        self.shared.env.crc32c(crc, bytes)
    }

    fn may_use_reserve(&self) -> bool {
        self.shared.env.may_use_reserve()
    }

    fn log(&self, _: Level, _: fmt::Arguments<'_>) {}

    fn wake_background(&self) {}
}
