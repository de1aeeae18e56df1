//! The inode blocks of a device, front to back: while one run is checked, the next has been read with
//! what its inodes lead to asked for, and those behind it are on their way.

use crate::ahead;
use crate::context::{Context, RUN_BLOCKS};

/// Runs that are asked for ahead of the one that is checked.
const RUNS_AHEAD: usize = 64;

/// A run of live blocks.
pub(crate) struct Run {
    pub(crate) segment: u64,
    pub(crate) first: u32,
    pub(crate) len: u32,
    /// As they were when read; `None` if some of them can't be.
    pub(crate) images: Option<Vec<u8>>,
}

impl Run {
    pub(crate) fn address(&self, ctx: &Context<'_>) -> u64 {
        ctx.layout.segment_start(self.segment) + u64::from(self.first)
    }
}

/// See the module.
pub(crate) struct Stream<'s> {
    to_request: Runs<'s>,
    to_read: Runs<'s>,
    next: Option<Run>,
}

impl<'s> Stream<'s> {
    pub(crate) fn new(ctx: &Context<'_>, segments: &'s [u64]) -> Stream<'s> {
        let all = Runs { segments, index: 1 };
        let mut stream = Stream {
            to_request: all,
            to_read: all,
            next: None,
        };
        (0..RUNS_AHEAD).for_each(|_| stream.request(ctx));
        stream.read(ctx);
        stream
    }

    /// The next run of that segment; those of earlier ones are passed over.
    pub(crate) fn next_of(&mut self, ctx: &Context<'_>, segment: u64) -> Option<Run> {
        while let Some(run) = self.next.take_if(|run| run.segment <= segment) {
            self.request(ctx);
            self.read(ctx);
            if run.segment == segment {
                return Some(run);
            }
        }
        None
    }

    fn request(&mut self, ctx: &Context<'_>) {
        if let Some(run) = self.to_request.next(ctx) {
            let start = run.address(ctx);
            ctx.read_ahead(start..start + u64::from(run.len));
        }
    }

    fn read(&mut self, ctx: &Context<'_>) {
        self.next = self.to_read.next(ctx);
        if let Some(run) = &mut self.next {
            run.images = ctx.read_run(run.address(ctx), run.len.into()).ok();
            ahead::inodes(ctx, run.images.as_deref().unwrap_or(&[]));
        }
    }
}

/// The runs that the marks of segments make.
#[derive(Clone, Copy)]
struct Runs<'s> {
    /// Those that are left.
    segments: &'s [u64],
    /// How far the first of them has been looked at.
    index: u32,
}

impl Runs<'_> {
    fn next(&mut self, ctx: &Context<'_>) -> Option<Run> {
        let end = ctx.layout.segment_blocks;
        while let Some((&segment, others)) = self.segments.split_first() {
            let is_live = |index: &u32| {
                let marks = ctx.map.marked(segment);
                marks.is_some_and(|marks| marks.has(*index))
            };
            if let Some(first) = (self.index..end).find(is_live) {
                let rest = (first..end).take(RUN_BLOCKS as usize);
                let len = rest.take_while(is_live).count() as u32;
                self.index = first + len;
                return Some(Run {
                    segment,
                    first,
                    len,
                    images: None,
                });
            }
            (self.segments, self.index) = (others, 1);
        }
        None
    }
}
