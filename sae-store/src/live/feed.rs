//! `Feed`: passes one after another, made here or by a thread that runs ahead.
//!
//! The thread is lent the passes and gives them back when it is asked to stop. What it has made by then
//! is kept, so that going on, with or without the thread, gives the same passes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::passes::{Pass, Passes};
use crate::{Error, Result};

/// What the thread sends.
enum Message<'m> {
    Made(Result<Pass>),
    /// The passes, given back: no more of them follow.
    Back(Passes<'m>),
}

/// This end of the thread.
struct Ahead<'m> {
    lend: Sender<Passes<'m>>,
    messages: Receiver<Message<'m>>,
    stop: Arc<AtomicBool>,
}

/// The thread's end: what it runs.
pub(super) struct Worker<'m> {
    lent: Receiver<Passes<'m>>,
    messages: SyncSender<Message<'m>>,
    stop: Arc<AtomicBool>,
}

impl Worker<'_> {
    /// Make passes, until the feed is gone.
    pub(super) fn work(self) {
        while let Ok(mut passes) = self.lent.recv() {
            while !self.stop.load(Ordering::Acquire) {
                let made = passes.make();
                let failed = made.is_err();
                // (Waits while enough passes are ahead.)
                if self.messages.send(Message::Made(made)).is_err() {
                    return;
                }
                if failed {
                    break;
                }
            }
            if self.messages.send(Message::Back(passes)).is_err() {
                return;
            }
        }
    }
}

/// Passes one after another.
pub(super) struct Feed<'m> {
    /// The passes, unless the thread has them.
    here: Option<Passes<'m>>,
    ahead: Option<Ahead<'m>>,
    /// Made, and not yet taken.
    made: VecDeque<Pass>,
}

impl<'m> Feed<'m> {
    pub(super) fn new(passes: Passes<'m>) -> Self {
        Self { here: Some(passes), ahead: None, made: VecDeque::new() }
    }

    /// From now on passes are made by the worker, which is at most `passes` ahead (and one in the making).
    pub(super) fn ahead(&mut self, passes: usize) -> Worker<'m> {
        let (lend, lent) = channel();
        let (send, messages) = sync_channel(passes);
        let stop = Arc::new(AtomicBool::new(false));
        self.ahead = Some(Ahead { lend, messages, stop: Arc::clone(&stop) });
        Worker { lent, messages: send, stop }
    }

    /// The next pass.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn next(&mut self) -> Result<Pass> {
        loop {
            if let Some(pass) = self.made.pop_front() {
                return Ok(pass);
            }
            let Some(ahead) = &self.ahead else { return self.recall()?.make() };
            if let Some(passes) = self.here.take() {
                ahead.stop.store(false, Ordering::Release);
                ahead.lend.send(passes).map_err(|_| Error::ThreadEnded)?;
            }
            match ahead.messages.recv().map_err(|_| Error::ThreadEnded)? {
                Message::Made(pass) => return pass,
                Message::Back(passes) => self.here = Some(passes),
            }
        }
    }

    /// A pass that was made already.
    pub(super) fn take_made(&mut self) -> Option<Pass> {
        self.made.pop_front()
    }

    /// The passes that are still to be made, those excepted that [`Feed::take_made`] gives. The thread, if
    /// there is one, waits until it is needed again.
    ///
    /// # Errors
    /// The thread failed to make a pass.
    pub(super) fn recall(&mut self) -> Result<&mut Passes<'m>> {
        while self.here.is_none() {
            let ahead = self.ahead.as_ref().ok_or(Error::ThreadEnded)?;
            ahead.stop.store(true, Ordering::Release);
            match ahead.messages.recv().map_err(|_| Error::ThreadEnded)? {
                Message::Made(pass) => self.made.push_back(pass?),
                Message::Back(passes) => self.here = Some(passes),
            }
        }
        self.here.as_mut().ok_or(Error::ThreadEnded)
    }

    /// Begin with the first pass again.
    ///
    /// # Errors
    /// The dataset cannot be read.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.recall()?.rewind()?;
        self.made.clear();
        Ok(())
    }
}
