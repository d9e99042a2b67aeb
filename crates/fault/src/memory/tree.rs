//! The names: directories, their entries, and which of them a power cut would keep.
//!
//! Each directory has its entries twice, as synced and as seen now. Between them lies an ordered
//! list of steps (a creation, a rename, a removal). A rename is one step: after a power cut either
//! the old name or the new one stands there, and a replaced file is either the old or the new one,
//! never neither. A step is lost or kept whole; keeping one keeps the earlier ones on the same name.
//!
//! The model is stricter than common file systems: syncing a new file does not save its name, and
//! a rename between two directories is safe only after both were synced.

use super::Node;
use ringfort_base::world::is_plain_path;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};

type DirId = u64;
const ROOT: DirId = 0;

#[derive(Clone, Default)]
struct Dir {
    synced: BTreeMap<String, Node>,
    current: BTreeMap<String, Node>,
}

#[derive(Clone)]
pub(super) struct Tree {
    dirs: BTreeMap<DirId, Dir>,
    pending: Vec<NameOp>,
    next_dir: DirId,
}

/// A change of names that no directory sync has covered.
#[derive(Clone)]
pub(super) struct NameOp {
    /// The place in the order of all unsynced steps of the disk.
    pub(super) at: u64,
    /// For people: `create a/b`.
    pub(super) label: String,
    changes: Vec<(DirId, String, Option<Node>)>,
    /// The directories whose sync it still waits for.
    waits: BTreeSet<DirId>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { dirs: BTreeMap::from([(ROOT, Dir::default())]), pending: Vec::new(), next_dir: ROOT + 1 }
    }

    pub(super) fn pending(&self) -> &[NameOp] {
        &self.pending
    }

    pub(super) fn lookup(&self, path: &str) -> Result<Node> {
        let (dir, name) = self.place(path)?;
        self.dir(dir).current.get(name).copied().ok_or_else(|| not_found(path))
    }

    pub(super) fn file(&self, path: &str) -> Result<u64> {
        match self.lookup(path)? {
            Node::File(ino) => Ok(ino),
            Node::Dir(_) => Err(Error::new(ErrorKind::IsADirectory, path.to_owned())),
        }
    }

    pub(super) fn list(&self, dir: &str) -> Result<Vec<String>> {
        Ok(self.dir(self.dir_id(dir)?).current.keys().cloned().collect())
    }

    /// Names a new file.
    pub(super) fn link(&mut self, at: u64, path: &str, ino: u64) -> Result<()> {
        let (dir, name) = self.place(path)?;
        if self.dir(dir).current.contains_key(name) {
            return Err(Error::new(ErrorKind::AlreadyExists, path.to_owned()));
        }
        self.apply(at, format!("create {path}"), vec![(dir, name.to_owned(), Some(Node::File(ino)))]);
        Ok(())
    }

    /// Creates the directory and its parents; `at` numbers one step per new directory.
    pub(super) fn create_dir(&mut self, mut at: impl FnMut() -> u64, path: &str) -> Result<()> {
        check(path)?;
        let mut dir = ROOT;
        for name in path.split('/') {
            dir = match self.dir(dir).current.get(name) {
                Some(Node::Dir(id)) => *id,
                Some(Node::File(_)) => return Err(Error::new(ErrorKind::AlreadyExists, path.to_owned())),
                None => {
                    let id = self.next_dir;
                    self.next_dir += 1;
                    self.dirs.insert(id, Dir::default());
                    let change = (dir, name.to_owned(), Some(Node::Dir(id)));
                    self.apply(at(), format!("create directory {name} of {path}"), vec![change]);
                    id
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, at: u64, from: &str, to: &str) -> Result<()> {
        let node = self.lookup(from)?;
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        if from == to {
            return Ok(());
        }
        if to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{from} into itself")));
        }
        let refused = |kind| Err(Error::new(kind, to.to_owned()));
        match (node, self.dir(to_dir).current.get(to_name)) {
            (_, None) | (Node::File(_), Some(Node::File(_))) => {}
            (Node::Dir(_), Some(Node::Dir(id))) if self.dir(*id).current.is_empty() => {}
            (Node::Dir(_), Some(Node::Dir(_))) => return refused(ErrorKind::DirectoryNotEmpty),
            (Node::File(_), Some(Node::Dir(_))) => return refused(ErrorKind::IsADirectory),
            (Node::Dir(_), Some(Node::File(_))) => return refused(ErrorKind::NotADirectory),
        }
        let changes = vec![(from_dir, from_name.to_owned(), None), (to_dir, to_name.to_owned(), Some(node))];
        self.apply(at, format!("rename {from} to {to}"), changes);
        Ok(())
    }

    pub(super) fn unlink(&mut self, at: u64, path: &str) -> Result<()> {
        self.file(path)?;
        let (dir, name) = self.place(path)?;
        self.apply(at, format!("remove {path}"), vec![(dir, name.to_owned(), None)]);
        Ok(())
    }

    /// Makes the steps in `dir` safe, and those that they build on.
    pub(super) fn sync_dir(&mut self, dir: &str) -> Result<()> {
        let dir = self.dir_id(dir)?;
        for op in &mut self.pending {
            op.waits.remove(&dir);
        }
        let kept = self.with_causes(|op| op.waits.is_empty());
        let mut nth = 0..;
        for (op, _) in self.pending.iter().zip(&kept).filter(|(_, kept)| **kept) {
            settle(&mut self.dirs, op);
        }
        self.pending.retain(|_| !kept[nth.next().expect("the range has no end")]);
        Ok(())
    }

    /// The names after a power cut that kept the steps for which `keep` holds.
    pub(super) fn after_power_cut(&self, keep: impl FnMut(&NameOp) -> bool) -> Self {
        let mut left = Self { dirs: self.dirs.clone(), pending: Vec::new(), next_dir: self.next_dir };
        for (op, _) in self.pending.iter().zip(self.with_causes(keep)).filter(|(_, kept)| *kept) {
            settle(&mut left.dirs, op);
        }
        for dir in left.dirs.values_mut() {
            dir.current = dir.synced.clone();
        }
        let live = left.reachable(|dir| vec![&dir.current]);
        left.dirs.retain(|id, _| live.contains(&Node::Dir(*id)));
        left
    }

    /// Files that some name, now or after some power cut, leads to.
    pub(super) fn files_in_use(&self) -> BTreeSet<u64> {
        let mut nodes = self.reachable(|dir| vec![&dir.current, &dir.synced]);
        nodes.extend(self.pending.iter().flat_map(|op| op.changes.iter().filter_map(|change| change.2)));
        nodes.into_iter().filter_map(Node::as_file).collect()
    }

    /// Every file that has a name, with it.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((prefix, dir)) = todo.pop() {
            for (name, node) in &self.dir(dir).current {
                match node {
                    Node::File(ino) => files.push((format!("{prefix}{name}"), *ino)),
                    Node::Dir(id) => todo.push((format!("{prefix}{name}/"), *id)),
                }
            }
        }
        files.sort();
        files
    }

    /// Marks the steps for which `keep` holds and the earlier ones on the same names.
    fn with_causes(&self, mut keep: impl FnMut(&NameOp) -> bool) -> Vec<bool> {
        let mut kept: Vec<bool> = self.pending.iter().map(&mut keep).collect();
        let mut needed = BTreeSet::new();
        for (op, kept) in self.pending.iter().zip(&mut kept).rev() {
            let names = || op.changes.iter().map(|(dir, name, _)| (*dir, name.as_str()));
            *kept |= names().any(|name| needed.contains(&name));
            if *kept {
                needed.extend(names());
            }
        }
        kept
    }

    fn reachable(&self, views: impl Fn(&Dir) -> Vec<&BTreeMap<String, Node>>) -> BTreeSet<Node> {
        let mut seen = BTreeSet::from([Node::Dir(ROOT)]);
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            for node in views(self.dir(id)).into_iter().flat_map(BTreeMap::values) {
                if let (true, Node::Dir(id)) = (seen.insert(*node), node) {
                    todo.push(*id);
                }
            }
        }
        seen
    }

    fn apply(&mut self, at: u64, label: String, changes: Vec<(DirId, String, Option<Node>)>) {
        for (dir, name, node) in &changes {
            let entries = &mut self.dirs.get_mut(dir).expect("a directory that was looked up exists").current;
            match node {
                Some(node) => drop(entries.insert(name.clone(), *node)),
                None => drop(entries.remove(name)),
            }
        }
        let waits = changes.iter().map(|(dir, ..)| *dir).collect();
        self.pending.push(NameOp { at, label, changes, waits });
    }

    fn dir(&self, id: DirId) -> &Dir {
        self.dirs.get(&id).expect("directories are never dropped while an entry leads to them")
    }

    fn dir_id(&self, path: &str) -> Result<DirId> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        match self.lookup(path)? {
            Node::Dir(id) => Ok(id),
            Node::File(_) => Err(Error::new(ErrorKind::NotADirectory, path.to_owned())),
        }
    }

    /// The directory that holds the last name of `path`, and that name.
    fn place<'p>(&self, path: &'p str) -> Result<(DirId, &'p str)> {
        check(path)?;
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = ROOT;
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            dir = match self.dir(dir).current.get(part) {
                Some(Node::Dir(id)) => *id,
                Some(Node::File(_)) => return Err(Error::new(ErrorKind::NotADirectory, path.to_owned())),
                None => return Err(not_found(path)),
            };
        }
        Ok((dir, name))
    }
}

fn settle(dirs: &mut BTreeMap<DirId, Dir>, op: &NameOp) {
    for (dir, name, node) in &op.changes {
        let entries = &mut dirs.get_mut(dir).expect("a step names directories that exist").synced;
        match node {
            Some(node) => drop(entries.insert(name.clone(), *node)),
            None => drop(entries.remove(name)),
        }
    }
}

fn check(path: &str) -> Result<()> {
    if is_plain_path(path) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("not a plain relative path: {path:?}")))
}

fn not_found(path: &str) -> Error {
    Error::new(ErrorKind::NotFound, path.to_owned())
}
