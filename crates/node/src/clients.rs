//! Who is connected: what `CLIENT LIST`, `CLIENT KILL` and `maxclients` need to know.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The two ends of a connection, as people read them (`127.0.0.1:50188`).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The client's end.
    pub remote: String,
    /// Our end.
    pub local: String,
}

/// What a client said of itself.
#[derive(Clone, Default, Debug)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_version: Vec<u8>,
}

/// A connection, as others see it. The connection itself updates it once per turn, without locks.
pub struct Client {
    /// Unique in this life of the server.
    pub id: u64,
    /// Its ends.
    pub peer: Peer,
    /// What it said of itself.
    pub names: Mutex<Names>,
    /// The selected database.
    pub db: AtomicU8,
    /// 2 or 3.
    pub protocol: AtomicU8,
    /// `CLIENT NO-EVICT`: kept and shown; nothing is evicted here.
    pub no_evict: AtomicBool,
    /// `CLIENT NO-TOUCH`: kept and shown.
    pub no_touch: AtomicBool,
    /// Whether it has authenticated (or need not).
    pub authenticated: AtomicBool,
    /// Bytes in its request buffer.
    pub request_bytes: AtomicUsize,
    /// Bytes in its reply buffer.
    pub reply_bytes: AtomicUsize,
    last_command: Mutex<&'static str>,
    since: Duration,
    last_active_ms: AtomicU64,
    closing: AtomicBool,
    wake: Notify,
}

impl Client {
    /// Notes a turn that ended at `now` with `command`.
    pub fn active(&self, now: Duration, command: &'static str) {
        self.last_active_ms.store(as_ms(now), Ordering::Relaxed);
        *self.last_command.lock() = command;
    }

    /// How long it has been connected.
    #[must_use]
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Asks the connection to close: after its present turn, which may not take long any more.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether it was asked to close.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Resolves when it is asked to close. One waiter: the connection.
    pub async fn closed(&self) {
        while !self.is_closing() {
            self.wake.notified().await;
        }
    }

    /// Its line of `CLIENT LIST`, without the line feed.
    pub fn describe(&self, now: Duration, out: &mut String) {
        let idle_ms = as_ms(now).saturating_sub(self.last_active_ms.load(Ordering::Relaxed));
        let mut flags = String::new();
        if self.no_evict.load(Ordering::Relaxed) {
            flags.push('e');
        }
        if self.no_touch.load(Ordering::Relaxed) {
            flags.push('T');
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let (qbuf, omem) =
            (self.request_bytes.load(Ordering::Relaxed), self.reply_bytes.load(Ordering::Relaxed));
        let names = self.names.lock();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let written = write!(
            out,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={flags} db={} sub=0 psub=0 ssub=0 multi=-1 \
             qbuf={qbuf} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={omem} oll=0 omem={omem} tot-mem={} \
             events=r cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.peer.remote,
            self.peer.local,
            text(&names.name),
            self.age(now).as_secs(),
            idle_ms / 1000,
            self.db.load(Ordering::Relaxed),
            qbuf + omem,
            *self.last_command.lock(),
            self.protocol.load(Ordering::Relaxed),
            text(&names.lib_name),
            text(&names.lib_version),
        );
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    state: Mutex<State>,
    gone: Notify,
}

#[derive(Default)]
struct State {
    next_id: u64,
    clients: BTreeMap<u64, Arc<Client>>,
    shutting_down: bool,
}

impl Clients {
    /// Registers a connection, unless there are `max` already or the server is shutting down.
    pub fn register(self: &Arc<Self>, peer: Peer, max: usize, now: Duration) -> Option<Registration> {
        let mut state = self.state.lock();
        if state.clients.len() >= max || state.shutting_down {
            return None;
        }
        state.next_id += 1;
        let client = Arc::new(Client {
            id: state.next_id,
            peer,
            names: Mutex::default(),
            db: AtomicU8::new(0),
            protocol: AtomicU8::new(2),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            request_bytes: AtomicUsize::new(0),
            reply_bytes: AtomicUsize::new(0),
            last_command: Mutex::new("NULL"),
            since: now,
            last_active_ms: AtomicU64::new(as_ms(now)),
            closing: AtomicBool::new(false),
            wake: Notify::new(),
        });
        state.clients.insert(client.id, Arc::clone(&client));
        Some(Registration { clients: Arc::clone(self), client })
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Client>> {
        self.state.lock().clients.values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().clients.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses new connections and asks all present ones to close.
    pub fn shut_down(&self) {
        let mut state = self.state.lock();
        state.shutting_down = true;
        state.clients.values().for_each(|client| client.close());
    }

    /// Resolves when no connection is left.
    pub async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            if self.is_empty() {
                return;
            }
            gone.await;
        }
    }
}

/// A place in [`Clients`], given up when it drops.
pub struct Registration {
    clients: Arc<Clients>,
    /// The entry.
    pub client: Arc<Client>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.clients.state.lock().clients.remove(&self.client.id);
        self.clients.gone.notify_waiters();
    }
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_clients_is_bounded_and_places_are_given_back() {
        let clients = Arc::new(Clients::default());
        let first = clients.register(Peer::default(), 1, Duration::ZERO).expect("room");
        assert!(clients.register(Peer::default(), 1, Duration::ZERO).is_none());
        drop(first);
        let again = clients.register(Peer::default(), 1, Duration::ZERO).expect("room again");
        assert_eq!(again.client.id, 2, "ids are not used twice");
        clients.shut_down();
        assert!(again.client.is_closing());
        assert!(clients.register(Peer::default(), 9, Duration::ZERO).is_none());
    }
}
