//! The simulated platform: what it remembers, what the bus can do to it.

use super::super::Platform;
use super::*;
use crate::anchor::tests::sample;
use crate::counter::{Counter, advance_confirmed};
use crate::testing::TestEntropy;
use crate::verified::look;
use ringfort_fault::device::{DeviceFault, FaultDevice};
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::script::{Fault, FaultDisk, When};

const STORE: StoreId = StoreId([1; 16]);
const OTHER: StoreId = StoreId([8; 16]);

fn device(disk: impl Disk + 'static) -> Arc<SimDevice> {
    Arc::new(SimDevice::new(Arc::new(disk), Arc::new(TestEntropy::default())))
}

fn platform(disk: &MemDisk) -> SimPlatform {
    SimPlatform::new(device(disk.clone()))
}

fn live(platform: &SimPlatform, name: &str, store: StoreId) -> Arc<dyn Counter> {
    platform.begin(name, store).unwrap();
    platform.commit(name, store).unwrap();
    platform.counter(name, store).unwrap()
}

#[test]
fn a_name_goes_from_unknown_to_creating_to_live_and_is_forgotten() {
    let disk = MemDisk::new();
    let platform = platform(&disk);
    assert_eq!(platform.known("a"), Ok(Known::No));
    assert_eq!(platform.commit("a", STORE).unwrap_err().kind(), ErrorKind::Refused);
    platform.begin("a", OTHER).unwrap();
    platform.begin("a", STORE).unwrap();
    assert_eq!(platform.known("a"), Ok(Known::Creating(STORE)), "the newer attempt counts");
    assert_eq!(platform.commit("a", OTHER).unwrap_err().kind(), ErrorKind::Refused);
    platform.commit("a", STORE).unwrap();
    platform.commit("a", STORE).unwrap();
    assert_eq!(platform.known("a"), Ok(Known::Live(STORE)));
    let refused = platform.begin("a", OTHER).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(refused.message().contains(&STORE.to_string()));
    assert_eq!(platform.known("b"), Ok(Known::No));

    let after = super::tests::platform(&disk.crash(CrashChoice::LoseAll));
    assert_eq!(after.known("a"), Ok(Known::Live(STORE)), "a commit is synced");
    after.forget("a").unwrap();
    after.forget("never known").unwrap();
    assert_eq!(after.known("a"), Ok(Known::No));
    after.begin("a", OTHER).unwrap();
}

#[test]
fn names_are_checked_and_any_utf_8_is_a_name() {
    let platform = platform(&MemDisk::new());
    for name in ["../../etc", "a/b", "ß\n\0", &"x".repeat(255)] {
        live(&platform, name, STORE);
        assert_eq!(platform.known(name), Ok(Known::Live(STORE)));
    }
    for name in ["", &"x".repeat(256)] {
        assert_eq!(platform.known(name).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(platform.begin(name, STORE).unwrap_err().kind(), ErrorKind::Invalid);
        assert!(platform.counter(name, STORE).is_err());
    }
}

#[test]
fn sealing_keys_belong_to_a_store_and_to_a_platform() {
    let disk = MemDisk::new();
    let key = |platform: &SimPlatform, store| platform.sealing_key(store).unwrap();
    let first = platform(&disk);
    let mine = key(&first, STORE);
    assert!(key(&first, OTHER) != mine);
    let after = disk.crash(CrashChoice::LoseAll);
    assert!(key(&platform(&after), STORE) == mine, "the root is synced before it is used");
    let entropy = TestEntropy::default();
    entropy.fill(&mut [0]).unwrap();
    let elsewhere = SimDevice::new(Arc::new(MemDisk::new()), Arc::new(entropy));
    assert!(key(&SimPlatform::new(Arc::new(elsewhere)), STORE) != mine);
}

#[test]
fn two_processes_share_a_platform() {
    let disk = MemDisk::new();
    let (ours, theirs) = (platform(&disk), platform(&disk.second_process()));
    assert!(ours.sealing_key(STORE).unwrap() == theirs.sealing_key(STORE).unwrap());
    let counter = live(&ours, "a", STORE);
    let second = theirs.counter("a", STORE).unwrap();
    assert_eq!(advance_confirmed(&*counter, None, &sample(1, 1), true, 3), Ok(1));
    assert_eq!(advance_confirmed(&*second, Some(&sample(1, 1)), &sample(2, 2), true, 3), Ok(2));
    let stopped = advance_confirmed(&*counter, Some(&sample(1, 1)), &sample(1, 3), false, 3).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::SecondCopy);
    assert_eq!(counter.read().unwrap().unwrap().anchor, sample(2, 2));
}

#[test]
fn a_destroyed_store_has_no_counter_left() {
    let disk = MemDisk::new();
    let platform = platform(&disk);
    let old = live(&platform, "a", STORE);
    advance_confirmed(&*old, None, &sample(1, 1), true, 3).unwrap();
    platform.forget("a").unwrap();
    let fresh = live(&platform, "a", OTHER);
    assert_eq!(old.read(), Ok(None));
    assert_eq!(fresh.read(), Ok(None));
    let error = advance_confirmed(&*old, Some(&sample(1, 1)), &sample(1, 2), false, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SecondCopy);
    assert_eq!(fresh.advance(None, &sample(1, 1), true).unwrap_err().kind(), ErrorKind::Invalid);
}

/// R4 over the real bus: whatever happens to one message, an advance is right about its outcome.
#[test]
fn r4_a_lost_replayed_or_garbled_message_does_not_deceive() {
    let faults = [
        DeviceFault::DropRequest,
        DeviceFault::DropReply,
        DeviceFault::ReplayReply,
        DeviceFault::ForgeReply(vec![]),
        DeviceFault::ForgeReply(vec![1, 7, 9, 0, 0, 0, 0, 0, 0, 0]),
        DeviceFault::FlipReply { offset: 2, bits: 4 },
        DeviceFault::FlipReply { offset: 40, bits: 1 },
    ];
    for fault in faults {
        for claim in [false, true] {
            let bus = Arc::new(FaultDevice::new(device(MemDisk::new())));
            let platform = SimPlatform::new(bus.clone());
            let counter = live(&platform, "a", STORE);
            advance_confirmed(&*counter, None, &sample(1, 1), true, 3).unwrap();
            bus.next(fault.clone());
            let value = advance_confirmed(&*counter, Some(&sample(1, 1)), &sample(1, 2), claim, 3).unwrap();
            let held = counter.read().unwrap().unwrap();
            assert_eq!((held.value, held.anchor.wal.position), (value, 2), "{fault:?}");
            bus.next(fault.clone());
            if let Ok(reading) = counter.read() {
                assert_eq!(reading, Some(held), "{fault:?}");
            }
        }
    }
}

/// A power cut at every disk call of a life: the platform comes back, and knows what it confirmed.
#[test]
fn no_power_cut_tears_the_platform() {
    let mut nth = 0;
    loop {
        nth += 1;
        let memory = MemDisk::new();
        let faulty = FaultDisk::new(Arc::new(memory.clone()));
        faulty.inject(When::Mutating(nth), Fault::Freeze);
        let platform = SimPlatform::new(device(faulty.clone()));
        let (mut key, mut known, mut claimed) = (None, Known::No, 0);
        let _ = (|| {
            key = Some(platform.sealing_key(STORE)?);
            platform.begin("a", STORE)?;
            known = Known::Creating(STORE);
            platform.commit("a", STORE)?;
            known = Known::Live(STORE);
            let counter = platform.counter("a", STORE)?;
            for at in 1..4 {
                counter.advance((at > 1).then(|| sample(1, at - 1).digest()), &sample(1, at), at == 2)?;
                claimed = if at >= 2 { 2 } else { 0 };
            }
            Ok::<_, Error>(())
        })();
        for seed in 0..20 {
            let after = super::tests::platform(&memory.crash(CrashChoice::Seeded(seed)));
            if let Some(key) = &key {
                assert!(after.sealing_key(STORE).unwrap() == *key);
            }
            let now = after.known("a").unwrap();
            let not_before = match known {
                Known::No => true,
                Known::Creating(_) => now != Known::No,
                Known::Live(_) => now == known,
            };
            assert!(not_before, "call {nth}, seed {seed}: {now:?} after {known:?}");
            let held = after.counter("a", STORE).unwrap().read().unwrap();
            assert!(held.map_or(0, |reading| reading.anchor.wal.position) >= claimed);
            after.sealing_key(STORE).unwrap();
        }
        if !faulty.is_frozen() {
            break;
        }
    }
    assert!(nth > 10, "the sweep ended after {nth} calls");
}

#[test]
fn a_damaged_state_directory_is_evidence_and_not_a_new_platform() {
    let disk = MemDisk::new();
    live(&platform(&disk), "a", STORE);
    let file = join(STORES, &file_name("a"));
    let mut bytes = disk.bytes_of(&file).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    disk.poke(&file, 0, &bytes).unwrap();
    let error = platform(&disk).known("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tampered);
    assert_eq!(error.proof().unwrap().file, file);

    disk.create("root").unwrap().write_at(&[7; 31], 0).unwrap();
    assert_eq!(platform(&disk).sealing_key(STORE).err().unwrap().kind(), ErrorKind::Tampered);
}

#[test]
fn no_request_makes_the_device_panic() {
    let device = device(MemDisk::new());
    let request = Request::CounterAdvance {
        name: "a".to_owned(),
        store: STORE,
        expected: Some([3; 32]),
        to: sample(1, 1),
        claim: true,
    };
    let bytes = request.encode();
    assert_eq!(Request::decode(&bytes), Ok(request));
    let sent = [&[0; SEQUENCE_BYTES][..], &bytes].concat();
    for cut in 0..sent.len() {
        let reply = look(device.transact(&sent[..cut]).unwrap());
        assert!(matches!(Reply::decode(&reply[..reply.len() - 32]), Ok(Reply::Failed(_))), "cut at {cut}");
    }
    for at in 0..sent.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = sent.clone();
            bad[at] = value;
            let _ = device.transact(&bad).unwrap();
        }
    }
}

#[test]
fn latency_is_the_callers_to_spend_and_only_on_the_counter() {
    let spent = Arc::new(Mutex::new(Duration::ZERO));
    let meter = spent.clone();
    let device = SimDevice::new(Arc::new(MemDisk::new()), Arc::new(TestEntropy::default()))
        .with_latency(Duration::from_millis(5), Box::new(move |time| *meter.lock().unwrap() += time));
    let platform = SimPlatform::new(Arc::new(device));
    let counter = live(&platform, "a", STORE);
    assert_eq!(*spent.lock().unwrap(), Duration::ZERO);
    counter.advance(None, &sample(1, 1), false).unwrap();
    counter.read().unwrap();
    assert_eq!(*spent.lock().unwrap(), Duration::from_millis(10));
}

#[test]
fn it_says_in_one_line_what_it_is() {
    let platform = platform(&MemDisk::new());
    assert!(platform.is_simulated());
    let line = platform.describe();
    assert!(
        line.starts_with("simulated platform") && line.contains("no real attacker") && !line.contains('\n')
    );
}
