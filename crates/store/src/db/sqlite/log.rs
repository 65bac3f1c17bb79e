//! Looks for damage in a write-ahead log before SQLite opens it.
//!
//! SQLite takes a log up to the first frame whose checksum is wrong, and drops the rest without a
//! word: that is right for what was being written when the machine failed, and wrong for a
//! bit that flipped in what was committed long ago. The two can be told apart. Every frame's
//! checksum goes on from the one before it, and a transaction begins only when the one before it
//! has been flushed. So what goes on from a bad frame for two commits or more was acknowledged.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The first four bytes, but for the last bit, which says how the words of a checksum are read.
const MAGIC: u32 = 0x377f_0682;

/// A log of which SQLite would drop what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDamage {
    /// The frame, counted from 1, from which on nothing would be taken; 0 is the header.
    pub frame: u64,
    /// How many transactions would be lost, at least.
    pub transactions: u64,
}

/// Looks at the write-ahead log beside this database, which nobody else may have open: `None` if it
/// is sound, or ends as a log does in whose midst the machine failed, or is not there.
///
/// # Errors
/// If it cannot be read.
pub fn damage_in_log(database: &Path) -> io::Result<Option<LogDamage>> {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let log = match File::open(&path) {
        Ok(file) => BufReader::with_capacity(1 << 18, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut start = [0; 18];
    let has_pages = fill(&mut File::open(database)?, &mut start)?;
    inspect(log, page_size(u16::from_be_bytes([start[16], start[17]]).into()).filter(|_| has_pages))
}

/// 1 stands for what does not fit into two bytes.
fn page_size(stated: u32) -> Option<usize> {
    match stated {
        1 => Some(65_536),
        size => Some(size as usize).filter(|size| size.is_power_of_two() && (512..=65_536).contains(size)),
    }
}

/// The running checksum of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    fn read(bytes: &[u8]) -> Self {
        Self(word(bytes, 0), word(bytes, 4))
    }

    fn over(self, bytes: &[u8], is_big_endian: bool) -> Self {
        let Self(mut first, mut second) = self;
        for pair in bytes.chunks_exact(8) {
            let (mut one, mut other) = (word(pair, 0), word(pair, 4));
            if !is_big_endian {
                (one, other) = (one.swap_bytes(), other.swap_bytes());
            }
            first = first.wrapping_add(one).wrapping_add(second);
            second = second.wrapping_add(other).wrapping_add(first);
        }
        Self(first, second)
    }
}

/// The four bytes at `at`, the first one being the greatest.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| word.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte)))
}

/// `page_size` is that of the database, if it has one already.
fn inspect(mut log: impl Read, page_size_there: Option<usize>) -> io::Result<Option<LogDamage>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let Some(page_size) = page_size_there.or_else(|| page_size(word(&header, 8))) else { return Ok(None) };
    let mut walks = Walk::from(&header);
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_size];
    let mut number = 0;
    while fill(&mut log, &mut frame)? {
        number += 1;
        for walk in &mut walks {
            walk.take(number, &frame);
        }
    }
    Ok(walks.iter().find_map(Walk::damage))
}

/// How far it was looked.
struct Walk {
    is_big_endian: bool,
    /// By which a frame is known to be of this log, and not the rest of an older one.
    salt: [u8; 8],
    /// The checksums from which the next frame may go on: the one that the frame before it states,
    /// and the one that it has. Where it is damaged, one of the two may still be right.
    before: [Sum; 2],
    /// The first bad frame.
    bad: Option<u64>,
    /// Commits in a row since a bad frame; what comes after two of them is only added.
    lost: u64,
}

impl Walk {
    /// From a header; if that is damaged, in both ways in which it may have been meant.
    fn from(header: &[u8; HEADER_BYTES]) -> Vec<Self> {
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[16..24]);
        let begin = |is_big_endian: bool| {
            let (stated, found) = (Sum::read(&header[24..]), Sum(0, 0).over(&header[..24], is_big_endian));
            let is_sound = word(header, 0) == MAGIC | u32::from(is_big_endian) && stated == found;
            Self { is_big_endian, salt, before: [stated, found], bad: (!is_sound).then_some(0), lost: 0 }
        };
        let mut both: Vec<Self> = [false, true].map(begin).into();
        if both.iter().any(|walk| walk.bad.is_none()) {
            both.retain(|walk| walk.bad.is_none());
        }
        both
    }

    fn take(&mut self, number: u64, frame: &[u8]) {
        if number == 1 && self.bad == Some(0) {
            // It may be the header's that is damaged.
            self.salt.copy_from_slice(&frame[8..16]);
        }
        let stated = Sum::read(&frame[16..]);
        let found = self.before.map(|sum| {
            sum.over(&frame[..8], self.is_big_endian).over(&frame[FRAME_HEADER_BYTES..], self.is_big_endian)
        });
        if found.contains(&stated) && frame[8..16] == self.salt {
            self.before = [stated; 2];
            // A commit has the size of the database after it.
            self.lost += u64::from(self.bad.is_some() && word(frame, 4) != 0);
            return;
        }
        self.before = [stated, found[0]];
        self.bad.get_or_insert(number);
        if self.lost < 2 {
            self.lost = 0;
        }
    }

    /// One commit may be that of a transaction in whose midst the machine failed.
    fn damage(&self) -> Option<LogDamage> {
        let frame = self.bad.filter(|_| self.lost > 1)?;
        Some(LogDamage { frame, transactions: self.lost })
    }
}

/// Whether there was enough to fill it.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    const TRANSACTIONS: usize = 24;

    /// What a process leaves that is killed after so many transactions: the database and its log.
    fn killed() -> (Vec<u8>, Vec<u8>) {
        let home = TempDir::new().unwrap();
        let path = home.path().join("live.db");
        let live = Connection::open(&path).unwrap();
        live.pragma_update(None, "journal_mode", "wal").unwrap();
        live.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        live.execute("create table notes (text text not null)", []).unwrap();
        for number in 1..TRANSACTIONS {
            live.execute("insert into notes values ($1)", ["x".repeat(number * 400)]).unwrap();
        }
        (std::fs::read(&path).unwrap(), std::fs::read(home.path().join("live.db-wal")).unwrap())
    }

    fn left_behind(database: &[u8], log: &[u8]) -> (TempDir, PathBuf) {
        let home = TempDir::new().unwrap();
        let path = home.path().join("left.db");
        std::fs::write(&path, database).unwrap();
        std::fs::write(home.path().join("left.db-wal"), log).unwrap();
        (home, path)
    }

    /// How many of the transactions SQLite takes.
    fn taken(path: &Path) -> usize {
        let opened = Connection::open(path).unwrap();
        let count: rusqlite::Result<i64> = opened.query_row("select count(*) from notes", [], |row| row.get(0));
        count.map_or(0, |rows| usize::try_from(rows).unwrap() + 1)
    }

    #[test]
    fn a_sound_log_and_none_are_sound() {
        let (database, log) = killed();
        let (_home, path) = left_behind(&database, &log);
        assert_eq!(damage_in_log(&path).unwrap(), None);
        assert_eq!(taken(&path), TRANSACTIONS);
        assert_eq!(damage_in_log(&path).unwrap(), None, "it was copied into the database");
    }

    #[test]
    fn a_log_in_whose_midst_the_machine_failed_is_sound() {
        let (database, log) = killed();
        for cut in (0..log.len()).step_by(1009) {
            let (_home, path) = left_behind(&database, &log[..cut]);
            assert_eq!(damage_in_log(&path).unwrap(), None, "cut at {cut}");
        }
        // Torn: the end of the last transaction was written, and its beginning not.
        let mut torn = log;
        let length = torn.len();
        torn[length - 2 * 4120..length - 4120].fill(0);
        let (_home, path) = left_behind(&database, &torn);
        assert_eq!(damage_in_log(&path).unwrap(), None);
    }

    #[test]
    fn the_rest_of_an_older_log_is_no_damage() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("live.db");
        let live = Connection::open(&path).unwrap();
        live.pragma_update(None, "journal_mode", "wal").unwrap();
        live.execute("create table notes (text text not null)", []).unwrap();
        for number in 0..20 {
            live.execute("insert into notes values ($1)", ["x".repeat(9000)]).unwrap();
            if number == 15 {
                live.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(())).unwrap();
            }
        }
        let log = std::fs::read(home.path().join("live.db-wal")).unwrap();
        let (_home, copy) = left_behind(&std::fs::read(&path).unwrap(), &log);
        assert_eq!(damage_in_log(&copy).unwrap(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
        #[test]
        fn of_a_flipped_bit_sqlite_loses_no_more_than_the_last_without_our_knowing(at: prop::sample::Index, bit in 0..8_u8) {
            thread_local!(static KILLED: (Vec<u8>, Vec<u8>) = killed());
            let (database, mut log) = KILLED.with(Clone::clone);
            let at = at.index(log.len());
            log[at] ^= 1 << bit;
            let (_home, path) = left_behind(&database, &log);
            let damage = damage_in_log(&path).unwrap();
            let lost = TRANSACTIONS - taken(&path);
            match damage.map(|damage| usize::try_from(damage.transactions).unwrap()) {
                // The one of the bad frame itself may not be among those that go on from it.
                Some(known) => prop_assert!(lost == known || lost == known + 1, "{lost} lost, not {known}; byte {at}"),
                None => prop_assert!(lost <= 2, "{lost} lost without a word; byte {at}"),
            }
        }
    }
}
