//! What a process and a reader of its live trace say to each other.
//!
//! ```text
//!   reader                                        process
//!   FOLDER/PID: connect
//!   GREETING, with a sealed memfd ----------->    same user, or root? a buffer? nobody else watches?
//!                                  <-----------   Answer
//!   reads the buffer                              writes records
//!   closes the socket, or is gone                 stops
//! ```
//! One message each way, over a SOCK_SEQPACKET socket. The memory is the reader's: the program pays no
//! page for being looked at, and what the reader reads nobody can cut. What this does not do: any of it.

/// What a reader says: the name and the version of this.
pub const GREETING: [u8; 16] = *b"ringer watch 01\n";
/// The folder of the sockets below `XDG_RUNTIME_DIR`.
pub const FOLDER: &str = "ringer";
/// Where it is without one: this and the user's number.
pub const FOLDER_ELSEWHERE: &str = "/tmp/ringer-";
/// Variable that says that nobody is to watch, if it is 1.
pub const FORBIDDEN: &str = "RINGER_NO_ATTACH";
/// Names tried where a process id is taken: PID, PID.1, ...
pub const NAMES: u32 = 16;
/// Bytes of an answer.
pub const ANSWER: usize = 24;

const MAGIC: u64 = u64::from_le_bytes(*b"rwatch01");

/// What the process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It writes to the buffer.
    Watched,
    /// Another reader is there.
    Busy {
        /// Its process, as the watched one knows it (0: of another namespace).
        pid: u32,
    },
    /// It was started to be traced, which has the only buffer.
    Traced,
    /// That is no buffer, or it cannot be mapped.
    NoBuffer,
}

impl Answer {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ANSWER] {
        let (word, pid) = match self {
            Self::Watched => (1, 0),
            Self::Busy { pid } => (2, pid),
            Self::Traced => (3, 0),
            Self::NoBuffer => (4, 0),
        };
        let mut out = [0; ANSWER];
        let words = [MAGIC, word, u64::from(pid)];
        for (to, from) in out.iter_mut().zip(words.iter().flat_map(|w| w.to_le_bytes())) {
            *to = from;
        }
        out
    }

    /// From bytes that anybody may have sent; `None` for what is no answer.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let [magic, word, pid] = words else { return None };
        let pid = u32::try_from(u64::from_le_bytes(*pid)).ok()?;
        if u64::from_le_bytes(*magic) != MAGIC {
            return None;
        }
        match (u64::from_le_bytes(*word), pid) {
            (1, 0) => Some(Self::Watched),
            (2, pid) => Some(Self::Busy { pid }),
            (3, 0) => Some(Self::Traced),
            (4, 0) => Some(Self::NoBuffer),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written_and_nothing_else_is() {
        for answer in [Answer::Watched, Answer::Busy { pid: 7 }, Answer::Traced, Answer::NoBuffer] {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::of_bytes(&bytes), Some(answer));
            assert_eq!(Answer::of_bytes(&bytes[..ANSWER - 1]), None);
            assert_eq!(Answer::of_bytes(&[bytes.as_slice(), &[0; 8]].concat()), None);
        }
        assert_eq!(Answer::of_bytes(&[0; ANSWER]), None);
        assert_eq!(Answer::of_bytes(&[0xff; ANSWER]), None);
    }
}
