//! What has to survive a restart and a reboot: `allowances.redb` in the state directory.
//!
//! Every change is one commit that is on the disk before it returns. A store that cannot be read is
//! never written to: before the file itself is opened, all of it is read and checked in memory. It
//! decides nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    StorageBackend as _, TableDefinition, TableError,
};
use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::clock::Floor;
use super::entry::{Entry, Revoked};
use crate::break_glass::{CodeRow, Entry as Glass};

/// Name of the file in the state directory.
const FILE: &str = "allowances.redb";
/// Nothing that is kept here is larger.
const MAX_FILE: u64 = 256 << 20;
/// What is in the tables, and how.
const VERSION: &str = "1";

/// JSON of an [`Entry`], by id.
const ALLOWANCES: TableDefinition<'_, &str, &str> = TableDefinition::new("allowances");
/// JSON of a [`Revoked`], by id.
const REVOKED: TableDefinition<'_, &str, &str> = TableDefinition::new("revoked");
/// JSON of a [`Glass`], by number.
const GLASS: TableDefinition<'_, u64, &str> = TableDefinition::new("break_glass");
/// JSON of a [`CodeRow`], by number.
const CODES: TableDefinition<'_, u64, &str> = TableDefinition::new("break_glass_codes");
/// `version`, and `clock`: JSON of a [`Floor`].
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

/// The open store. Nobody else can have it open.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// `None` after a write that failed, until it could be opened anew: redb takes nothing more
    /// after one.
    database: Option<Database>,
}

/// What was in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Every allowance.
    pub(crate) entries: Vec<Entry>,
    /// Every id that was revoked.
    pub(crate) revoked: Vec<Revoked>,
    /// The latest time that was believed.
    pub(crate) clock: Option<Floor>,
    /// Every break-glass.
    pub(crate) glass: Vec<Glass>,
    /// Every code that opens one, or did.
    pub(crate) codes: Vec<CodeRow>,
}

/// What is to be written, all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// New or changed allowances.
    pub(crate) entries: Vec<Entry>,
    /// Ids of allowances that need not be remembered any more.
    pub(crate) forget: Vec<String>,
    /// Ids that are revoked.
    pub(crate) revoked: Vec<Revoked>,
    /// The latest time that was believed.
    pub(crate) clock: Option<Floor>,
    /// New or changed break-glasses.
    pub(crate) glass: Vec<Glass>,
    /// Numbers of those that need not be remembered any more.
    pub(crate) forget_glass: Vec<u64>,
    /// New or changed codes.
    pub(crate) codes: Vec<CodeRow>,
    /// Numbers of those that need not be remembered any more.
    pub(crate) forget_codes: Vec<u64>,
}

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// Its object.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A change could not be written.
    #[error("{} cannot be written: {why}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Store {
    /// Opens the store in `state_dir`, making it if it is not there.
    pub(crate) fn open(state_dir: &Path) -> Result<(Self, Loaded), StoreError> {
        let path = state_dir.join(FILE);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(unreadable(&path, "it is not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(state_dir, &path)?,
            Err(error) => return Err(io_error("look at", &path)(error)),
        }
        let loaded = inspect(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(io_error("restrict", &path))?;
        let database =
            Builder::new().open(&path).map_err(|error| unreadable(&path, &error.to_string()))?;
        Ok((Self { path, database: Some(database) }, loaded))
    }

    /// Writes a change to the disk.
    pub(crate) fn write(&mut self, change: &Change) -> Result<(), StoreError> {
        let wrong = |path: &Path, error: Failure| StoreError::Unwritable {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                Builder::new().open(&self.path).map_err(|error| wrong(&self.path, error.into()))?
            }
        };
        let written = commit(&database, change).map_err(|error| wrong(&self.path, error));
        if written.is_ok() {
            self.database = Some(database);
        }
        written
    }
}

/// Makes an empty store under another name and moves it into place: an empty file is never taken
/// for a store.
fn make(state_dir: &Path, path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(io_error("make", state_dir))?;
    let new = path.with_extension("new");
    // What is left of an attempt that was cut short has never been the store.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let file = options.open(&new).map_err(io_error("make", &new))?;
    let wrong = |why: String| StoreError::Unwritable { path: new.clone(), why };
    let database = Builder::new().create(&new).map_err(|error| wrong(error.to_string()))?;
    commit(&database, &Change::default()).map_err(|error| wrong(error.to_string()))?;
    drop(database);
    file.sync_all().map_err(io_error("write to disk", &new))?;
    fs::rename(&new, path).map_err(io_error("put in place", path))?;
    File::open(state_dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("write to disk", state_dir))
}

/// Reads everything, on a copy in memory: opening the file itself would write to it, and a broken
/// one has to stay as it is.
fn inspect(path: &Path) -> Result<Loaded, StoreError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io_error("open", path))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.is_empty() {
        return Err(unreadable(path, "it is empty"));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(path, "it is larger than 256 MiB"));
    }
    load(&bytes).map_err(|error| unreadable(path, &error.to_string()))
}

type Failure = Box<dyn std::error::Error>;

fn load(bytes: &[u8]) -> Result<Loaded, Failure> {
    let memory = InMemoryBackend::new();
    memory.set_len(bytes.len() as u64)?;
    memory.write(0, bytes)?;
    let database = Builder::new().set_check_integrity_on_open(true).create_with_backend(memory)?;
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    match meta.get("version")?.map(|version| version.value().to_owned()) {
        Some(version) if version == VERSION => {}
        Some(version) => {
            return Err(
                format!("it has version {version}, and this agent knows {VERSION} only").into()
            );
        }
        None => return Err("it says no version".into()),
    }
    let clock = meta.get("clock")?.map(|clock| parse("the clock", clock.value())).transpose()?;
    let mut loaded = Loaded { clock, ..Loaded::default() };
    for row in read.open_table(ALLOWANCES)?.iter()? {
        let (id, json) = row?;
        let entry: Entry = parse(id.value(), json.value())?;
        same(id.value(), &entry.id)?;
        loaded.entries.push(entry);
    }
    for row in read.open_table(REVOKED)?.iter()? {
        let (id, json) = row?;
        let revoked: Revoked = parse(id.value(), json.value())?;
        same(id.value(), &revoked.id)?;
        loaded.revoked.push(revoked);
    }
    loaded.glass = numbered(&read, GLASS, |glass: &Glass| glass.number)?;
    loaded.codes = numbered(&read, CODES, |code: &CodeRow| code.number)?;
    Ok(loaded)
}

/// Every row of a table that an older store does not have.
fn numbered<T: DeserializeOwned>(
    read: &ReadTransaction,
    table: TableDefinition<'_, u64, &str>,
    number_of: impl Fn(&T) -> u64,
) -> Result<Vec<T>, Failure> {
    let table = match read.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (number, json) = row?;
        let number = number.value();
        let value: T = parse(&number.to_string(), json.value())?;
        same(&number.to_string(), &number_of(&value).to_string())?;
        rows.push(value);
    }
    Ok(rows)
}

fn parse<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| format!("{what}: {error}").into())
}

fn same(key: &str, id: &str) -> Result<(), Failure> {
    if key == id { Ok(()) } else { Err(format!("under {key} is {id}").into()) }
}

fn commit(database: &Database, change: &Change) -> Result<(), Failure> {
    let write = database.begin_write()?;
    {
        let mut allowances = write.open_table(ALLOWANCES)?;
        for id in &change.forget {
            allowances.remove(id.as_str())?;
        }
        for entry in &change.entries {
            allowances.insert(entry.id.as_str(), json(entry)?.as_str())?;
        }
        let mut revoked = write.open_table(REVOKED)?;
        for one in &change.revoked {
            revoked.insert(one.id.as_str(), json(one)?.as_str())?;
        }
        let mut glass = write.open_table(GLASS)?;
        for number in &change.forget_glass {
            glass.remove(number)?;
        }
        for one in &change.glass {
            glass.insert(one.number, json(one)?.as_str())?;
        }
        let mut codes = write.open_table(CODES)?;
        for number in &change.forget_codes {
            codes.remove(number)?;
        }
        for code in &change.codes {
            codes.insert(code.number, json(code)?.as_str())?;
        }
        let mut meta = write.open_table(META)?;
        meta.insert("version", VERSION)?;
        if let Some(clock) = &change.clock {
            meta.insert("clock", json(clock)?.as_str())?;
        }
    }
    // On the disk when this returns: `Durability::Immediate` is the default.
    write.commit()?;
    Ok(())
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string(value)?)
}

fn unreadable(path: &Path, why: &str) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), why: why.to_owned() }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{entry, person, tree};
    use super::*;

    fn revoked(id: &str) -> Revoked {
        Revoked { id: id.to_owned(), at_ns: 7, by: person() }
    }

    fn floor(wall_ns: i64) -> Floor {
        Floor { wall_ns, boot_ns: 1, boot_id: "boot".to_owned() }
    }

    /// A directory with a store that has something in it.
    fn filled() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, loaded) = Store::open(dir.path()).unwrap();
        assert_eq!(loaded, Loaded::default());
        let entries = (0..50).map(|n| entry(&format!("old-{n}"))).chain([tree("new")]).collect();
        let change = Change {
            entries,
            revoked: vec![revoked("bad")],
            clock: Some(floor(1)),
            ..Change::default()
        };
        store.write(&change).unwrap();
        dir
    }

    /// What was written is there again, and no other user can read it.
    #[test]
    fn store_reopens_complete_and_private() {
        let dir = filled();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let (mut store, loaded) = Store::open(dir.path()).unwrap();
        assert_eq!((loaded.entries.len(), loaded.clock), (51, Some(floor(1))));
        assert_eq!(loaded.revoked, [revoked("bad")]);
        assert!(loaded.entries.contains(&tree("new")));
        let change = Change {
            entries: vec![Entry { reason: "changed".to_owned(), ..tree("new") }],
            forget: vec!["old-0".to_owned()],
            clock: Some(floor(2)),
            ..Change::default()
        };
        store.write(&change).unwrap();
        assert!(Store::open(dir.path()).is_err(), "it is in use");
        drop(store);
        let (_, loaded) = Store::open(dir.path()).unwrap();
        assert_eq!((loaded.entries.len(), loaded.clock), (50, Some(floor(2))));
        assert!(loaded.entries.iter().any(|entry| entry.reason == "changed"));
    }

    /// What a crash leaves behind: the file as it was at any moment while it is open.
    #[test]
    fn unclosed_store_has_every_commit() {
        let dir = filled();
        let (mut store, _) = Store::open(dir.path()).unwrap();
        store.write(&Change { entries: vec![entry("last")], ..Change::default() }).unwrap();
        let copy = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
        let (_, loaded) = Store::open(copy.path()).unwrap();
        assert!(loaded.entries.contains(&entry("last")));
    }

    #[test]
    fn truncated_store_is_refused_and_kept() {
        let dir = filled();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 100, 4096, whole.len() / 2] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(Store::open(dir.path()).is_err(), "{length}");
            assert_eq!(fs::read(&path).unwrap(), &whole[..length], "{length}");
        }
        fs::write(&path, "not a store").unwrap();
        assert!(Store::open(dir.path()).is_err());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Store::open(dir.path()).is_err());
    }

    /// Either what is altered does not matter (free pages), or it is refused; never a panic, and
    /// never another content.
    #[test]
    fn altered_store_never_changes_content() {
        let dir = filled();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let (_, before) = Store::open(dir.path()).unwrap();
        let mut refused = 0;
        for at in (0..320).step_by(8).chain((0..whole.len()).step_by(whole.len() / 150)) {
            let mut altered = whole.clone();
            altered[at] ^= 0x55;
            match load(&altered) {
                Ok(loaded) => assert_eq!(loaded, before, "byte {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn other_store_version_is_refused() {
        let dir = filled();
        let path = dir.path().join(FILE);
        let database = Builder::new().open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("version", "2").unwrap();
        write.commit().unwrap();
        drop(database);
        let before = fs::read(&path).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn unreadable_entry_makes_store_unreadable() {
        let dir = filled();
        let path = dir.path().join(FILE);
        let database = Builder::new().open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(ALLOWANCES).unwrap().insert("old-1", "{}").unwrap();
        write.commit().unwrap();
        drop(database);
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("old-1"), "{error}");
    }
}
