//! Power cuts: which of the unsynced steps reach the disk.
//!
//! Every unsynced step ([`Unsynced`]) meets a [`Fate`]. [`CrashChoice`] names the usual ways of
//! choosing; [`MemDisk::crash_by`] takes any. A small history is explored wholly by
//! `for mask in 0..disk.crash_masks()`, a long one by seeds.

use super::inode::{FileOp, FileOpKind, Inode};
use super::{MemDisk, World};
use crate::rng::SplitMix64;
use std::collections::BTreeMap;

/// What a power cut does with one unsynced step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It reached the disk.
    Kept,
    /// It did not.
    Lost,
    /// Of a write, only the growth of the file's length did: the new part reads as zeros. For
    /// anything else the same as [`Fate::Lost`].
    LengthOnly,
    /// Of a write, these of its sectors did (missing ones did not), and its growth of the length
    /// or not. For anything else `length` decides.
    Torn {
        /// One flag per sector of the write, in order.
        sectors: Vec<bool>,
        /// Whether the growth of the length did.
        length: bool,
    },
}

impl Fate {
    pub(super) fn keeps_sector(&self, nth: usize) -> bool {
        match self {
            Self::Kept => true,
            Self::Lost | Self::LengthOnly => false,
            Self::Torn { sectors, .. } => sectors.get(nth).copied().unwrap_or(false),
        }
    }

    pub(super) const fn keeps_len(&self) -> bool {
        match self {
            Self::Kept | Self::LengthOnly => true,
            Self::Lost => false,
            Self::Torn { length, .. } => *length,
        }
    }

    const fn keeps_whole(&self) -> bool {
        matches!(self, Self::Kept | Self::Torn { length: true, .. })
    }
}

/// A step that a power cut may undo, in the order in which they were made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unsynced {
    /// A creation, rename or removal.
    Name {
        /// For people: `rename a to b`.
        change: String,
    },
    /// A write.
    Write {
        /// The file's present name; empty if it has none any more.
        file: String,
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        len: usize,
        /// How many sectors they touch.
        sectors: usize,
        /// Whether the file grew.
        grows: bool,
    },
    /// A cut, or space reserved.
    Length {
        /// The file's present name; empty if it has none any more.
        file: String,
        /// The new length.
        len: u64,
    },
}

/// How the fates of a power cut are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashChoice {
    /// Nothing that was not synced survives.
    LoseAll,
    /// Everything survives.
    KeepAll,
    /// Any mixture, the same for the same history and seed. The seed also draws the kind of cut:
    /// an even coin, nearly all kept, nearly all lost, a clean prefix with a torn step at its end,
    /// names without data, data without names.
    Seeded(u64),
    /// The i-th unsynced step is kept whole if bit i is set; those above bit 63 are lost.
    Mask(u64),
}

impl MemDisk {
    /// The disk after a power cut. This one is left as it is, so that many cuts of one moment can
    /// be looked at; everything on the new one is synced, and no lock is held.
    #[must_use]
    pub fn crash(&self, choice: CrashChoice) -> Self {
        let mut nth = 0..;
        match choice {
            CrashChoice::LoseAll => self.crash_by(|_| Fate::Lost),
            CrashChoice::KeepAll => self.crash_by(|_| Fate::Kept),
            CrashChoice::Seeded(seed) => self.crash_by(seeded(seed, self.unsynced().len())),
            CrashChoice::Mask(mask) => self.crash_by(|_| {
                let bit: u32 = nth.next().unwrap_or(u32::MAX);
                if mask.checked_shr(bit).is_some_and(|rest| rest & 1 == 1) { Fate::Kept } else { Fate::Lost }
            }),
        }
    }

    /// As [`MemDisk::crash`], asking `choose` about each unsynced step in order.
    #[must_use]
    pub fn crash_by(&self, mut choose: impl FnMut(&Unsynced) -> Fate) -> Self {
        let world = self.world();
        let fates: BTreeMap<u64, Fate> =
            unsynced(&world).into_iter().map(|(at, step)| (at, choose(&step))).collect();
        let tree = world.tree.after_power_cut(|op| fates.get(&op.at).is_some_and(Fate::keeps_whole));
        let inodes = tree
            .files_in_use()
            .into_iter()
            .filter_map(|ino| Some((ino, settled(world.inodes.get(&ino)?, &fates))))
            .collect();
        Self::over(World { tree, inodes, ..World::new() }.continuing(&world))
    }

    /// What a power cut could undo now, in order.
    #[must_use]
    pub fn unsynced(&self) -> Vec<Unsynced> {
        unsynced(&self.world()).into_values().collect()
    }

    /// How many masks [`CrashChoice::Mask`] distinguishes now: two to the number of unsynced
    /// steps. `None` if they are too many to count, let alone to try.
    #[must_use]
    pub fn crash_masks(&self) -> Option<u64> {
        1u64.checked_shl(u32::try_from(self.unsynced().len()).ok()?)
    }
}

fn settled(inode: &Inode, fates: &BTreeMap<u64, Fate>) -> Inode {
    let fates: Vec<Fate> =
        inode.pending().iter().map(|op| fates.get(&op.at).cloned().unwrap_or(Fate::Lost)).collect();
    Inode::settled(inode.after_power_cut(&fates))
}

fn unsynced(world: &World) -> BTreeMap<u64, Unsynced> {
    let mut steps: BTreeMap<u64, Unsynced> =
        world.tree.pending().iter().map(|op| (op.at, Unsynced::Name { change: op.label.clone() })).collect();
    let names: BTreeMap<u64, String> =
        world.tree.files().into_iter().map(|(name, ino)| (ino, name)).collect();
    for (ino, inode) in &world.inodes {
        let file = names.get(ino).cloned().unwrap_or_default();
        steps.extend(inode.pending().iter().map(|op| (op.at, describe(op, file.clone()))));
    }
    steps
}

fn describe(op: &FileOp, file: String) -> Unsynced {
    match &op.kind {
        FileOpKind::Write { offset, data } => Unsynced::Write {
            file,
            offset: *offset,
            len: data.len(),
            sectors: op.sectors(),
            grows: op.changes_len,
        },
        FileOpKind::SetLen => Unsynced::Length { file, len: op.len_after },
    }
}

/// The kinds of cut that a seed chooses from.
#[derive(Clone, Copy)]
enum Cut {
    Coin { keep_percent: u64 },
    Prefix { kept: u64 },
    NamesOnly,
    DataOnly,
}

fn seeded(seed: u64, steps: usize) -> impl FnMut(&Unsynced) -> Fate {
    let mut rng = SplitMix64::new(seed);
    let cut = match rng.below(6) {
        0 => Cut::Coin { keep_percent: 50 },
        1 => Cut::Coin { keep_percent: 95 },
        2 => Cut::Coin { keep_percent: 5 },
        3 => Cut::Prefix { kept: rng.below(steps as u64 + 1) },
        4 => Cut::NamesOnly,
        _ => Cut::DataOnly,
    };
    let mut nth = 0;
    move |step| {
        nth += 1;
        let is_name = matches!(step, Unsynced::Name { .. });
        match cut {
            Cut::Prefix { kept } if nth <= kept => Fate::Kept,
            Cut::Prefix { kept } if nth == kept + 1 => torn(&mut rng, step),
            Cut::Prefix { .. } => Fate::Lost,
            Cut::NamesOnly if is_name => Fate::Kept,
            Cut::DataOnly if is_name => Fate::Lost,
            Cut::NamesOnly | Cut::DataOnly => one_of_four(&mut rng, step),
            Cut::Coin { keep_percent: 50 } => one_of_four(&mut rng, step),
            Cut::Coin { keep_percent } => {
                if rng.chance(keep_percent) {
                    Fate::Kept
                } else {
                    one_of_four(&mut rng, step)
                }
            }
        }
    }
}

fn one_of_four(rng: &mut SplitMix64, step: &Unsynced) -> Fate {
    match rng.below(4) {
        0 => Fate::Kept,
        1 => Fate::Lost,
        2 => Fate::LengthOnly,
        _ => torn(rng, step),
    }
}

fn torn(rng: &mut SplitMix64, step: &Unsynced) -> Fate {
    let count = if let Unsynced::Write { sectors, .. } = step { *sectors } else { 0 };
    Fate::Torn { sectors: (0..count).map(|_| rng.chance(50)).collect(), length: rng.chance(50) }
}
