//! `differential/allowed.toml`: differences that cannot be anything but that.
//!
//! An entry cites a row of section 4 of the ABI inventory (what has no meaning in user space), or
//! the proof that the kernel is not deterministic there; it names a predicate of this module, which
//! has a test of its own. What it does not do: excuse a whole program.

use serde::Deserialize;

/// Whether the kernel's line and ringer's are the same but for what is allowed.
type Predicate = fn(&str, &str) -> bool;

/// Predicates by name.
const PREDICATES: &[(&str, Predicate)] = &[("ready_receive", ready_receive)];

/// `IORING_CQE_F_SOCK_NONEMPTY` of a RECV or RECVMSG is missing, and nothing else differs. A receive that waited
/// is excused as well: which one it was the line does not say; the claims of `semantics/sockets.rs` do.
fn ready_receive(kernel: &str, ringer: &str) -> bool {
    let receives = [" RECV = ", " RECVMSG = "].iter().any(|of| kernel.contains(of));
    receives && kernel.strip_suffix(" flags=0x4") == Some(ringer)
}

/// One entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// The row of section 4, or why the kernel is not deterministic there.
    pub cites: String,
    /// One of the predicates.
    pub predicate: String,
    /// The test that shows it.
    pub test: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allowed: Vec<Entry>,
}

/// The list.
#[derive(Debug, Default)]
pub struct Allowed {
    entries: Vec<(Entry, Predicate)>,
}

impl Allowed {
    /// The list in this text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let with_predicate = |e: Entry| {
            let found = PREDICATES.iter().find(|(name, _)| *name == e.predicate);
            let (_, p) = found.ok_or_else(|| format!("no predicate {:?}", e.predicate))?;
            Ok((e, *p))
        };
        let entries =
            file.allowed.into_iter().map(with_predicate).collect::<Result<_, String>>()?;
        Ok(Self { entries })
    }

    /// The list as it stands in the repository.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ours() -> Result<Self, String> {
        Self::parse(include_str!("../../../../differential/allowed.toml"))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether some entry excuses ringer's line where the kernel's was another.
    pub fn excuses(&self, kernel: &str, ringer: &str) -> bool {
        self.entries.iter().any(|(_, p)| p(kernel, ringer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_in_the_repository_is_well_formed_and_used() {
        let ours = Allowed::ours().expect("differential/allowed.toml");
        for (name, _) in PREDICATES {
            let used = ours.entries.iter().any(|(e, _)| e.predicate == *name);
            assert!(used, "no entry uses {name}");
        }
    }

    #[test]
    fn an_entry_without_a_predicate_is_refused() {
        let text = "[[allowed]]\nname='x'\ncites='row'\npredicate='anything'\ntest='none'";
        assert!(Allowed::parse(text).is_err());
        assert!(Allowed::parse("[[allowed]]\nname='x'").is_err());
    }

    #[test]
    fn only_the_flag_of_a_receive_may_be_missing() {
        let ours = Allowed::ours().expect("differential/allowed.toml");
        assert!(ours.excuses("#19 RECV = 1 flags=0x4", "#19 RECV = 1"));
        assert!(ours.excuses("#19 RECVMSG = 1 flags=0x4", "#19 RECVMSG = 1"));
        assert!(!ours.excuses("#19 RECV = 1", "#19 RECV = 1 flags=0x4"));
        assert!(!ours.excuses("#19 RECV = 1 flags=0x4", "#19 RECV = 2"));
        assert!(!ours.excuses("#19 RECV = 1 flags=0x2", "#19 RECV = 1"));
        assert!(!ours.excuses("#19 RECV = 1 flags=0x4", "#20 RECV = 1"));
        assert!(!ours.excuses("#19 ACCEPT = 0 flags=0x4", "#19 ACCEPT = 0"));
    }

    #[test]
    fn nothing_is_excused_by_an_empty_list() {
        let none = Allowed::parse("").expect("an empty list");
        assert!(none.is_empty());
        assert!(!none.excuses("#1 READ = 1", "#1 READ = 2"));
    }
}
