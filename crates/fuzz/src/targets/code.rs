//! The scan for inline calls, on bytes that need not be code.

use ringer_intercept::scan;

const SYSCALL: [u8; 2] = [0x0f, 0x05];

pub(crate) fn scan(data: &[u8]) {
    for at in 0..data.len() {
        if let Some(len) = scan::insn_len(&data[at..]) {
            assert!((1..=15).contains(&len) && at + len <= data.len(), "{len} bytes at {at}");
        }
    }
    let found = scan::carried_by(data);
    // What must be there for a call: the instruction, and one of the numbers as an immediate.
    let has = |what: &[u8]| data.windows(what.len()).any(|w| w == what);
    let possible = has(&SYSCALL) && (0xa9..=0xab).any(|nr| has(&[nr, 1, 0, 0]));
    assert!(possible || !found.calls, "calls in code that has none");
    assert!(has(&SYSCALL) || !found.closes, "closes in code that has none");
    // A function as compilers make it is seen wherever it stands, what follows being its padding.
    let mut code = [0x90; 15].repeat(6);
    code.extend_from_slice(&[0x55, 0x48, 0x89, 0xe5].repeat(16));
    code.extend_from_slice(&[0xb8, 0xaa, 1, 0, 0, 0x0f, 0x05, 0xc9, 0xc3]);
    code.extend_from_slice(data);
    assert!(scan::carried_by(&code).calls, "a plain function is not seen");
}
