//! Power cuts and deaths of processes, one behaviour per test.

use super::{CrashChoice, Fate, MemDisk, SECTOR, Unsynced};
use crate::rng::SplitMix64;
use ringfort_base::world::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;

const S: usize = SECTOR as usize;

fn disk_with(path: &str, data: &[u8]) -> MemDisk {
    let disk = MemDisk::new();
    let file = disk.create(path).unwrap();
    file.write_at(data, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    disk
}

/// What the file holds in each possible state after a power cut that the masks tell apart.
fn states(disk: &MemDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..disk.crash_masks().unwrap())
        .map(|mask| disk.crash(CrashChoice::Mask(mask)).bytes_of(path).ok())
        .collect()
}

#[test]
fn what_was_synced_survives_every_cut() {
    let disk = disk_with("a", b"safe");
    assert_eq!(disk.unsynced(), []);
    for seed in 0..50 {
        assert_eq!(disk.crash(CrashChoice::Seeded(seed)).bytes_of("a").unwrap(), b"safe");
    }
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"safe");
}

#[test]
fn unsynced_data_is_lost_or_kept() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(b"one", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"two", 3).unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"one");
    assert_eq!(disk.crash(CrashChoice::KeepAll).bytes_of("a").unwrap(), b"onetwo");
    assert_eq!(disk.bytes_of("a").unwrap(), b"onetwo", "looking at a cut changes nothing");
}

#[test]
fn a_cut_settles_what_it_left() {
    let disk = disk_with("a", b"old");
    disk.create("b").unwrap();
    let cut = disk.crash(CrashChoice::KeepAll);
    assert_eq!(cut.unsynced(), []);
    assert_eq!(cut.crash(CrashChoice::LoseAll).list("").unwrap(), ["a", "b"]);
}

#[test]
fn a_write_tears_at_sectors_only() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(&[1; 3 * S], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[2; 2 * S], 100).unwrap();
    let Some(Unsynced::Write { sectors: 3, grows: false, .. }) = disk.unsynced().pop() else {
        panic!("bytes 100..1124 lie in three sectors: {:?}", disk.unsynced());
    };
    let middle = Fate::Torn { sectors: vec![false, true, false], length: false };
    let mut expected = vec![1; 3 * S];
    expected[S..2 * S].fill(2);
    assert_eq!(disk.crash_by(|_| middle.clone()).bytes_of("a").unwrap(), expected);
}

#[test]
fn seeds_reach_every_tear() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(&[1; 2 * S], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[2; 2 * S], 0).unwrap();
    let seen: BTreeSet<(u8, u8)> = (0..300)
        .map(|seed| disk.crash(CrashChoice::Seeded(seed)).bytes_of("a").unwrap())
        .map(|bytes| (bytes[0], bytes[2 * S - 1]))
        .collect();
    assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn writes_to_different_sectors_reorder() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(&[0; 2 * S], 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"1", 0).unwrap();
    file.write_at(b"2", SECTOR).unwrap();
    let seen: BTreeSet<(u8, u8)> =
        states(&disk, "a").into_iter().flatten().map(|bytes| (bytes[0], bytes[S])).collect();
    assert_eq!(seen, BTreeSet::from([(0, 0), (b'1', 0), (0, b'2'), (b'1', b'2')]));
}

#[test]
fn a_sector_never_forgets_an_earlier_write_while_keeping_a_later_one() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(b"..", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"1", 0).unwrap();
    file.write_at(b"2", 1).unwrap();
    let expected = [b"..", b"1.", b"12"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(states(&disk, "a"), BTreeSet::from(expected));
}

#[test]
fn growth_without_data_reads_as_zeros() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(b"data", 0).unwrap();
    assert_eq!(disk.crash_by(|_| Fate::LengthOnly).bytes_of("a").unwrap(), [0; 4]);
    let no_length = Fate::Torn { sectors: vec![true], length: false };
    assert_eq!(disk.crash_by(|_| no_length.clone()).bytes_of("a").unwrap(), b"");
}

#[test]
fn truncation_and_allocation_are_lost_or_kept() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(b"abcdef", 0).unwrap();
    file.sync().unwrap();
    file.truncate(2).unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"abcdef");
    assert_eq!(disk.crash(CrashChoice::KeepAll).bytes_of("a").unwrap(), b"ab");
    file.allocate(4).unwrap();
    assert_eq!(disk.bytes_of("a").unwrap(), b"ab\0\0");
    assert_eq!(disk.crash(CrashChoice::KeepAll).bytes_of("a").unwrap(), b"ab\0\0");
    file.sync().unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"ab\0\0");
}

#[test]
fn a_new_name_vanishes_though_its_bytes_were_synced() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(b"data", 0).unwrap();
    file.sync().unwrap();
    assert!(disk.crash(CrashChoice::LoseAll).list("").unwrap().is_empty());
    disk.sync_dir("").unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"data");
}

#[test]
fn a_new_directory_needs_a_sync_of_its_parent() {
    let disk = MemDisk::new();
    disk.create_dir("d/e").unwrap();
    let file = disk.create("d/e/a").unwrap();
    file.sync().unwrap();
    disk.sync_dir("d/e").unwrap();
    disk.sync_dir("d").unwrap();
    assert!(disk.crash(CrashChoice::LoseAll).list("").unwrap().is_empty());
    disk.sync_dir("").unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).list("d/e").unwrap(), ["a"]);
}

#[test]
fn a_replacing_rename_leaves_the_old_or_the_new_file() {
    let disk = disk_with("current", b"old");
    let file = disk.create("tmp").unwrap();
    file.write_at(b"new", 0).unwrap();
    file.sync().unwrap();
    disk.rename("tmp", "current").unwrap();
    disk.create("tmp").unwrap();
    let expected = [b"old", b"new"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(states(&disk, "current"), BTreeSet::from(expected));
    disk.sync_dir("").unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("current").unwrap(), b"new");
}

#[test]
fn a_rename_without_sync_of_the_data_can_leave_an_empty_file() {
    let disk = disk_with("current", b"old");
    let file = disk.create("tmp").unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.rename("tmp", "current").unwrap();
    disk.sync_dir("").unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("current").unwrap(), b"");
}

#[test]
fn a_file_is_never_lost_between_two_renames_of_it() {
    let disk = disk_with("a", b"x");
    disk.rename("a", "b").unwrap();
    disk.rename("b", "c").unwrap();
    for mask in 0..disk.crash_masks().unwrap() {
        let names = disk.crash(CrashChoice::Mask(mask)).list("").unwrap();
        assert_eq!(names.len(), 1, "mask {mask}: {names:?}");
    }
}

#[test]
fn a_rename_between_directories_needs_both_syncs() {
    let disk = disk_with("a", b"x");
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    disk.rename("a", "d/a").unwrap();
    disk.sync_dir("d").unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"x");
    disk.sync_dir("").unwrap();
    let cut = disk.crash(CrashChoice::LoseAll);
    assert_eq!(cut.bytes_of("d/a").unwrap(), b"x");
    assert_eq!(cut.bytes_of("a").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_removal_may_come_back() {
    let disk = disk_with("a", b"x");
    disk.remove("a").unwrap();
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"x");
    assert!(disk.crash(CrashChoice::KeepAll).files().is_empty());
    disk.sync_dir("").unwrap();
    assert!(disk.crash(CrashChoice::LoseAll).files().is_empty());
}

#[test]
fn a_removed_file_stays_for_its_readers_and_is_forgotten_after_them() {
    let disk = disk_with("a", b"x");
    let reader = disk.open("a").unwrap();
    disk.remove("a").unwrap();
    disk.sync_dir("").unwrap();
    assert_eq!(reader.read_at(Vec::new(), 0, 10).unwrap().len(), 1);
    drop(reader);
    disk.sync_dir("").unwrap();
    assert!(disk.world().inodes.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_cut() {
    let build = || {
        let disk = disk_with("a", &[1; 5000]);
        for i in 0..20u8 {
            let file = disk.create(&format!("f{i}")).unwrap();
            file.write_at(&[i; 3000], u64::from(i) * 100).unwrap();
        }
        disk
    };
    let (one, two) = (build(), build());
    let mut different = BTreeSet::new();
    for seed in 0..100 {
        let cut = one.crash(CrashChoice::Seeded(seed)).files();
        assert_eq!(cut, two.crash(CrashChoice::Seeded(seed)).files(), "seed {seed}");
        different.insert(cut);
    }
    assert!(different.len() > 50, "only {} different cuts of 100", different.len());
}

#[test]
fn a_fork_goes_its_own_way_and_remembers_what_is_unsynced() {
    let disk = disk_with("a", b"x");
    disk.create("b").unwrap();
    let fork = disk.fork();
    disk.create("c").unwrap();
    assert_eq!(fork.list("").unwrap(), ["a", "b"]);
    assert_eq!(fork.crash(CrashChoice::LoseAll).list("").unwrap(), ["a"]);
    let _held = disk.lock("LOCK").unwrap();
    drop(fork.lock("LOCK").unwrap());
}

#[test]
fn a_killed_process_keeps_what_it_wrote_and_can_write_no_more() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(b"x", 0).unwrap();
    let held = disk.lock("LOCK").unwrap();
    assert_eq!(disk.second_process().lock("LOCK").err().unwrap().kind(), ErrorKind::WouldBlock);
    let next = disk.process_kill();
    assert!(file.write_at(b"y", 0).is_err() && disk.create("b").is_err());
    assert_eq!(next.bytes_of("a").unwrap(), b"x");
    assert!(next.crash(CrashChoice::LoseAll).files().is_empty(), "still unsynced");
    let ours = next.lock("LOCK").unwrap();
    drop(held);
    assert!(next.lock("LOCK").is_err(), "the dead process's guard frees nobody else's lock");
    drop(ours);
    drop(next.lock("LOCK").unwrap());
}

#[test]
fn a_poke_is_seen_by_open_files_and_survives() {
    let disk = disk_with("a", b"abc");
    let file = disk.open("a").unwrap();
    disk.poke("a", 1, b"X").unwrap();
    assert_eq!(file.len().unwrap(), ringfort_base::Untrusted::new(3));
    assert_eq!(disk.crash(CrashChoice::LoseAll).bytes_of("a").unwrap(), b"aXc");
}

#[test]
fn a_later_sync_does_not_save_what_a_failed_one_dropped() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(b"lost", 0).unwrap();
    disk.fail_sync("a").unwrap();
    file.write_at(b"kept", 8192).unwrap();
    file.sync().unwrap();
    assert_eq!(&disk.bytes_of("a").unwrap()[..4], b"lost", "readers still see it");
    let left = disk.crash(CrashChoice::KeepAll).bytes_of("a").unwrap();
    assert_eq!((&left[..4], &left[8192..]), (&[0; 4][..], &b"kept"[..]));
}

#[test]
fn too_many_steps_have_no_masks() {
    let disk = MemDisk::new();
    for i in 0..64 {
        disk.create(&format!("f{i}")).unwrap();
    }
    assert_eq!(disk.crash_masks(), None);
}

/// Random work on a few files whose every write fills its bytes with a number of its own.
fn work(disk: &MemDisk, open: &mut BTreeMap<String, Arc<dyn DiskFile>>, rng: &mut SplitMix64, steps: u8) {
    for fill in 1..=steps {
        let name = format!("f{}", rng.below(4));
        let target = format!("f{}", rng.below(4));
        match (rng.below(10), open.get(&name)) {
            (0, Some(_)) => {
                disk.rename(&name, &target).unwrap();
                let file = open.remove(&name).unwrap();
                open.insert(target, file);
            }
            (1, Some(_)) => {
                disk.remove(&name).unwrap();
                open.remove(&name);
            }
            (2, Some(file)) => file.truncate(rng.below(4000)).unwrap(),
            (_, Some(file)) => file.write_at(&vec![fill; rng.below(2000) as usize], rng.below(4000)).unwrap(),
            (_, None) => drop(open.insert(name.clone(), disk.create(&name).unwrap())),
        }
    }
}

#[test]
fn random_histories_keep_what_was_synced_and_invent_nothing() {
    for seed in 0..200 {
        let mut rng = SplitMix64::new(seed);
        let disk = MemDisk::new();
        let mut open = BTreeMap::new();
        work(&disk, &mut open, &mut rng, 20);
        open.values().for_each(|file| file.sync().unwrap());
        disk.sync_dir("").unwrap();
        let synced = disk.files();
        assert_eq!(disk.crash(CrashChoice::LoseAll).files(), synced, "seed {seed}");
        work(&disk, &mut open, &mut rng, 20);
        assert_eq!(disk.crash(CrashChoice::LoseAll).files(), synced, "seed {seed}");
        assert_eq!(disk.crash(CrashChoice::KeepAll).files(), disk.files(), "seed {seed}");
        assert_eq!(
            disk.fork().crash(CrashChoice::Seeded(seed)).files(),
            disk.crash(CrashChoice::Seeded(seed)).files()
        );
        open.values().for_each(|file| file.sync().unwrap());
        disk.sync_dir("").unwrap();
        assert_eq!(disk.unsynced(), [], "seed {seed}");
        assert_eq!(disk.crash(CrashChoice::LoseAll).files(), disk.files(), "seed {seed}");
    }
}

#[test]
fn every_sector_after_a_cut_is_a_version_that_the_cache_held() {
    for seed in 0..100 {
        let mut rng = SplitMix64::new(seed);
        let disk = MemDisk::new();
        let file = disk.create("a").unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(&[255; 8 * S], 0).unwrap();
        file.sync().unwrap();
        let mut versions = vec![disk.bytes_of("a").unwrap()];
        for fill in 0..6 {
            file.write_at(&vec![fill; 1 + rng.below(1500) as usize], rng.below(2000)).unwrap();
            versions.push(disk.bytes_of("a").unwrap());
        }
        for cut in 0..20 {
            let left = disk.crash(CrashChoice::Seeded(cut)).bytes_of("a").unwrap();
            for (nth, sector) in left.chunks(S).enumerate() {
                let known = versions.iter().any(|version| version[nth * S..(nth + 1) * S] == *sector);
                assert!(known, "seed {seed}, cut {cut}: sector {nth} is no version of the file's");
            }
        }
    }
}
