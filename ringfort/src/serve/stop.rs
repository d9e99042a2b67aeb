//! The signals that ask for an end, heard until there is one.
//!
//! ```text
//!   first SIGTERM or SIGINT ──► the accepting thread: finish turns, stop the workers, anchor, close
//!   any later one           ──► exit at once, wherever all that is
//! ```
//!
//! A thread of its own listens, because the end can hang where no runtime looks: on a disk that does
//! not answer, on a counter that does not. When the server ends by itself, the first signal is
//! already the later one.

use ringfort_host::door;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The exit code of an end that did not wait: that of a shell's command ended by SIGINT.
pub(crate) const EXIT_AT_ONCE: i32 = 130;

/// Hears the signals.
pub(super) struct Stop {
    first: oneshot::Receiver<&'static str>,
    ending: Arc<AtomicBool>,
}

impl Stop {
    /// From now on signals do not kill the process by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        let (tell, first) = oneshot::channel();
        let ending = Arc::<AtomicBool>::default();
        let is_ending = Arc::clone(&ending);
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let listen = async move {
            let mut tell = Some(tell);
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                match tell.take() {
                    Some(tell) if !is_ending.swap(true, Ordering::AcqRel) => {
                        // Who does not listen any more is ending.
                        let _ = tell.send(name);
                    }
                    // As after a crash: everything acknowledged is safe, the rest is not waited for.
                    // Nothing is logged: standard error may be what hangs.
                    _ => std::process::exit(EXIT_AT_ONCE),
                }
            }
        };
        // Never joined: it ends with the process.
        door::spawn("ringfort-signal", move || runtime.block_on(listen))?;
        Ok(Self { first, ending })
    }

    /// The first signal, by its name.
    pub(super) async fn asked(&mut self) -> &'static str {
        match (&mut self.first).await {
            Ok(name) => name,
            Err(_) => pending().await,
        }
    }

    /// The server ends by itself: whoever asks for an end now wants it at once.
    pub(super) fn begin(&self) {
        self.ending.store(true, Ordering::Release);
    }
}
