//! A bus that the host sits on: requests and replies of a [`Device`] that get lost, are held back,
//! replayed or forged (R4: after an error the outcome is unknown).

use parking_lot::{Condvar, Mutex};
use ringfort_base::Untrusted;
use ringfort_base::world::Device;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// What happens to one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceFault {
    /// The request never reaches the device.
    DropRequest,
    /// The device acts, its reply is lost.
    DropReply,
    /// The request waits for [`FaultDevice::release`] before it reaches the device.
    HoldRequest,
    /// The device acts, its reply waits for [`FaultDevice::release`].
    HoldReply,
    /// The device is not asked; the reply before is given again (an error if there was none).
    ReplayReply,
    /// The device is not asked; this is the reply.
    ForgeReply(Vec<u8>),
    /// The device acts; these bits of its reply are flipped at this offset, if it is that long.
    FlipReply {
        /// The byte.
        offset: usize,
        /// The bits.
        bits: u8,
    },
}

/// A [`Device`] behind a hostile bus.
pub struct FaultDevice {
    inner: Arc<dyn Device>,
    bus: Mutex<Bus>,
    released: Condvar,
}

#[derive(Default)]
struct Bus {
    transactions: u64,
    plan: BTreeMap<u64, DeviceFault>,
    last_reply: Option<Vec<u8>>,
    waiting: u64,
    let_through: u64,
}

impl FaultDevice {
    /// An honest bus, until told otherwise.
    #[must_use]
    pub fn new(inner: Arc<dyn Device>) -> Self {
        Self { inner, bus: Mutex::default(), released: Condvar::new() }
    }

    /// Plans `fault` for the `nth` transaction, counted from 1 since the beginning.
    pub fn at(&self, nth: u64, fault: DeviceFault) {
        self.bus.lock().plan.insert(nth, fault);
    }

    /// Plans `fault` for the next transaction.
    pub fn next(&self, fault: DeviceFault) {
        let mut bus = self.bus.lock();
        let nth = bus.transactions + 1;
        bus.plan.insert(nth, fault);
    }

    /// How many transactions were begun.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.bus.lock().transactions
    }

    /// How many are held back now.
    #[must_use]
    pub fn held(&self) -> u64 {
        let bus = self.bus.lock();
        bus.waiting - bus.let_through
    }

    /// Lets through what is held back now.
    pub fn release(&self) {
        let mut bus = self.bus.lock();
        bus.let_through = bus.waiting;
        self.released.notify_all();
    }

    fn hold(&self) {
        let mut bus = self.bus.lock();
        bus.waiting += 1;
        let ticket = bus.waiting;
        while bus.let_through < ticket {
            self.released.wait(&mut bus);
        }
    }

    fn forward(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let reply = expose(self.inner.transact(request)?);
        self.bus.lock().last_reply = Some(reply.clone());
        Ok(reply)
    }
}

impl Device for FaultDevice {
    fn transact(&self, request: &[u8]) -> io::Result<Untrusted<Vec<u8>>> {
        let fault = {
            let mut bus = self.bus.lock();
            bus.transactions += 1;
            let nth = bus.transactions;
            bus.plan.remove(&nth)
        };
        let lost = |what: &str| io::Error::new(io::ErrorKind::TimedOut, format!("the {what} was lost"));
        let reply = match fault {
            None => self.forward(request)?,
            Some(DeviceFault::DropRequest) => return Err(lost("request")),
            Some(DeviceFault::DropReply) => {
                self.forward(request)?;
                return Err(lost("reply"));
            }
            Some(DeviceFault::HoldRequest) => {
                self.hold();
                self.forward(request)?
            }
            Some(DeviceFault::HoldReply) => {
                let reply = self.forward(request)?;
                self.hold();
                reply
            }
            Some(DeviceFault::ReplayReply) => {
                self.bus.lock().last_reply.clone().ok_or_else(|| lost("reply"))?
            }
            Some(DeviceFault::ForgeReply(reply)) => reply,
            Some(DeviceFault::FlipReply { offset, bits }) => {
                let mut reply = self.forward(request)?;
                if let Some(byte) = reply.get_mut(offset) {
                    *byte ^= bits;
                }
                reply
            }
        };
        Ok(Untrusted::new(reply))
    }
}

#[expect(clippy::disallowed_methods, reason = "the attacker looks at every byte on the bus")]
fn expose(reply: Untrusted<Vec<u8>>) -> Vec<u8> {
    reply.expose_to_verifier()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Replies with how often it acted.
    #[derive(Default)]
    struct Counter(AtomicU8);

    impl Device for Counter {
        fn transact(&self, _request: &[u8]) -> io::Result<Untrusted<Vec<u8>>> {
            Ok(Untrusted::new(vec![self.0.fetch_add(1, Ordering::SeqCst) + 1]))
        }
    }

    fn ask(device: &FaultDevice) -> Option<u8> {
        device.transact(b"?").ok().map(|reply| expose(reply)[0])
    }

    #[test]
    fn a_lost_request_does_not_act_and_a_lost_reply_does() {
        let device = FaultDevice::new(Arc::new(Counter::default()));
        device.at(1, DeviceFault::DropRequest);
        device.at(3, DeviceFault::DropReply);
        let got: Vec<_> = (0..4).map(|_| ask(&device)).collect();
        assert_eq!(got, [None, Some(1), None, Some(3)]);
        assert_eq!(device.transactions(), 4);
    }

    #[test]
    fn replies_are_replayed_forged_and_flipped() {
        let device = FaultDevice::new(Arc::new(Counter::default()));
        device.next(DeviceFault::ReplayReply);
        assert_eq!(ask(&device), None);
        assert_eq!(ask(&device), Some(1));
        device.next(DeviceFault::ReplayReply);
        assert_eq!(ask(&device), Some(1));
        device.next(DeviceFault::ForgeReply(vec![99]));
        assert_eq!(ask(&device), Some(99));
        device.next(DeviceFault::FlipReply { offset: 0, bits: 0x80 });
        assert_eq!(ask(&device), Some(0x82));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the door to threads lies in another crate")]
    fn a_held_reply_arrives_after_release() {
        for (fault, acted) in [(DeviceFault::HoldReply, 1), (DeviceFault::HoldRequest, 0)] {
            let counter = Arc::new(Counter::default());
            let device = Arc::new(FaultDevice::new(Arc::clone(&counter) as Arc<dyn Device>));
            device.next(fault);
            let waiting = std::thread::spawn({
                let device = Arc::clone(&device);
                move || ask(&device)
            });
            while device.held() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(counter.0.load(Ordering::SeqCst), acted);
            device.release();
            assert_eq!(waiting.join().unwrap(), Some(1));
        }
    }
}
