//! Which fields nobody can reach any more.

use super::keys::{meta_key, parse_field_key};
use super::record::{Kind, Record};
use ringfort_base::{KeyspaceId, Level, Seq};
use ringfort_store::Store;

/// Whether a stored key is a field of a hash that is gone, so that compaction may drop it.
///
/// It answers "no" in every doubt: for keys of other families, on an error, and as long as
/// - the deletion of the hash is not anchored: dropping a field is irrevocable, while an un-anchored
///   deletion may be lost with the tail of the log, and the hash that would then be back must
///   still have its fields;
/// - `oldest_view`, the oldest view that anybody reads by, is from before the deletion.
///
/// Once "yes", always "yes": no later hash of that name gets the generation again.
#[must_use]
pub fn is_orphan_field(store: &Store, keyspace: KeyspaceId, stored: &[u8], oldest_view: Option<Seq>) -> bool {
    let Some((key, generation, _)) = parse_field_key(stored) else {
        return false;
    };
    let Ok(answer) = store.get(keyspace, &meta_key(key), None) else {
        return false;
    };
    if answer.depends > store.frontier(Level::Fresh) || oldest_view.is_some_and(|view| view < answer.depends)
    {
        return false;
    }
    match answer.value.map(Record::decode) {
        None => true,
        Some(Ok(record)) => record.kind() != Kind::Hash || record.hash().generation != generation,
        Some(Err(_)) => false,
    }
}
