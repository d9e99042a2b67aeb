//! Creating and dropping keyspaces: security state, committed at `fresh` before the reply (R19).

use super::Inner;
use crate::engine::lsm::tree::Tree;
use crate::manifest::edit::{Entry, check_options};
use crate::manifest::state::KeyspaceState;
use crate::options::KeyspaceOptions;
use ringfort_base::limits::{KEYSPACES_MAX, NAME_BYTES_MAX};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Level, Result, Seq};
use ringfort_trust::keys::Secret;
use std::sync::Arc;

impl Inner {
    pub(crate) fn create_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<KeyspaceId> {
        self.check()?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("a keyspace's name has 1 to {NAME_BYTES_MAX} bytes")));
        }
        check_options(&options).map_err(Error::invalid)?;
        let _changing = self.changing_keyspaces.lock();
        let mut manifest = self.manifest.lock();
        if let Some(tree) = self.trees.read().values().find(|tree| tree.name == name) {
            return Ok(tree.id);
        }
        if manifest.state.keyspaces.len() >= KEYSPACES_MAX {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!("a store has at most {KEYSPACES_MAX} keyspaces"),
            ));
        }
        let id = manifest.state.next_keyspace;
        let key = Secret::random(&*self.world.entropy)?;
        let flushed = self.frontiers.get(Level::Buffered);
        let state = KeyspaceState::new(name.to_owned(), options, key.clone(), flushed, 0);
        let create = state.create_entry(id);
        let mut counters = self.counters_entry();
        if let Entry::Counters { next_keyspace, .. } = &mut counters {
            *next_keyspace = id.next();
        }
        // Before the edit: what fails here leaves no keyspace behind that only the MANIFEST knows.
        let tree = Tree::open(id, &state, &self.tables, &self.options.merge_operators)?;
        if let Some(merger) = &tree.view().merger {
            merger.operator()?;
        }
        self.edit_manifest(&mut manifest, vec![create, counters])?;
        drop(manifest);
        self.anchor_now()?;
        self.context.domain_keys.write().insert(id, key);
        self.trees.write().insert(id, Arc::new(tree));
        Ok(id)
    }

    /// Waits for the transactions that are at work in the keyspace.
    pub(crate) async fn drop_keyspace(&self, name: &str) -> Result<()> {
        loop {
            self.check()?;
            let id = self.trees.read().values().find(|tree| tree.name == name).map(|tree| tree.id);
            let id = id.ok_or_else(|| no_keyspace(name))?;
            // One in doubt may stay so for long: it is told rather than waited for.
            if self.prepared.lock().touches(id) {
                return Err(is_in_doubt(name));
            }
            let _locks = self.lock_whole(id, &[], None).await?;
            if self.drop_locked(name, id)? {
                return Ok(());
            }
        }
    }

    /// `false`: another keyspace has the name by now.
    fn drop_locked(&self, name: &str, id: KeyspaceId) -> Result<bool> {
        self.check()?;
        let _changing = self.changing_keyspaces.lock();
        {
            // The MANIFEST first: a flush that no longer sees the tree would free the log that holds its
            // data, and its edit must not come before the one that drops it.
            let mut manifest = self.manifest.lock();
            let tree = {
                let mut trees = self.trees.write();
                // Under this lock: nothing is prepared in it from here on.
                if self.prepared.lock().touches(id) {
                    return Err(is_in_doubt(name));
                }
                let Some(tree) = trees.remove(&id) else { return Ok(false) };
                tree
            };
            self.tables.handles.forget(tree.id);
            // What is queued for it is skipped from now on; its key stays while the log holds records of it.
            let at = Seq(self.queue.lock().next_seq.0 - 1);
            let head = self.edit_manifest(&mut manifest, vec![Entry::DropKeyspace { id: tree.id, at }])?;
            let view = tree.view();
            let tables = view.version.levels.iter().flatten().map(|table| self.freed_table(table, head));
            let named = view.value_files();
            let values = named.files().map(|live| self.freed_values(&live.meta, head));
            let files: Vec<_> = tables.chain(values).collect();
            self.purge.lock().files.extend(files);
        }
        self.anchor_now()?;
        self.wake_maintenance();
        Ok(true)
    }
}

fn no_keyspace(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no keyspace is named '{name}'"))
}

fn is_in_doubt(name: &str) -> Error {
    let message = format!(
        "a prepared transaction in doubt wrote to keyspace '{name}' or read in it: decide that first"
    );
    Error::new(ErrorKind::Busy, message)
}
