//! A row of the support tables says Full only while two tests name it.
//!
//! ```text
//!   row Full --.-- a differential: the generator draws it (`differential::DRAWS`), or a fixed
//!              |   program that runs on the kernel and on ringer (PROGRAMS), or a claim of the
//!              |   fidelity matrix that needs the row (CLAIMED)
//!              '-- an errno order: its name (`errno_order::ROWS`), a recorded table that tries
//!                  its bit or number, such a program or such a claim; nothing for what a program is told
//! ```
//! What it does not do: run these tests; that they exist is checked, not that they pass.

use ringer_engine::support::{Field, Place, Row, Support, Table, rows};
use ringer_testkit::differential::DRAWS;
use ringer_testkit::fidelity::all;
use ringer_testkit::fidelity::errno_order::ROWS;
use std::collections::BTreeMap;
use std::path::Path;

const RECORDED: &str = include_str!("../../tests/transcripts/errno-order-6.18.txt");

/// A row, and the file and name of the test that runs a fixed program on both rings for it.
type Program = (&'static str, &'static str, &'static str);

const SETUP: &str = "e2e_setup.rs";
const WAITS: &str = "e2e_waits.rs";
const REGISTRATION: &str = "e2e_registration.rs";
const MODES: &str = "e2e_modes.rs";
const ENGINE: &str = "e2e_engine.rs";
const IDENTITY: &str = "e2e_identity.rs";
const FEATURES: &str = "what_the_features_word_promises_holds";
const OVERFLOW: &str = "nothing_is_lost_when_the_cq_ring_is_full";
const EVENTFD: &str = "an_eventfd_is_registered_and_signalled";

/// Differentials that are no draws.
const PROGRAMS: &[Program] = &[
    ("SETUP_CLAMP", SETUP, "sizes_are_rounded_clamped_and_refused"),
    ("SETUP_SQ_AFF", SETUP, "flags_are_taken_and_refused_alone_and_together"),
    ("SETUP_R_DISABLED", REGISTRATION, "every_kind_of_ring_takes_a_set"),
    ("REGISTER_FILES_SKIP", REGISTRATION, "an_update_empties_the_slot_it_fails_on"),
    ("REGISTER_QUERY", REGISTRATION, "a_query_says_what_setup_enter_and_the_probe_do"),
    ("REGISTER_EVENTFD", SETUP, EVENTFD),
    ("UNREGISTER_EVENTFD", SETUP, EVENTFD),
    ("CQ_EVENTFD_DISABLED", SETUP, FEATURES),
    ("ENTER_SQ_WAIT", SETUP, FEATURES),
    ("ENTER_ABS_TIMER", SETUP, FEATURES),
    ("ENTER_NO_IOWAIT", SETUP, FEATURES),
    ("NOP_TW", SETUP, FEATURES),
    ("RWF_DSYNC", SETUP, FEATURES),
    ("RWF_SYNC", SETUP, FEATURES),
    ("RWF_APPEND", SETUP, FEATURES),
    ("FEAT_SINGLE_MMAP", SETUP, "offsets_select_regions"),
    ("FEAT_NODROP", WAITS, OVERFLOW),
    ("FEAT_SUBMIT_STABLE", SETUP, FEATURES),
    ("FEAT_RW_CUR_POS", "e2e_spine.rs", "reads_writes_and_fixed_files_work_with_one_mapping"),
    ("FEAT_CUR_PERSONALITY", IDENTITY, "the_effective_user_may_change_from_request_to_request"),
    ("FEAT_FAST_POLL", WAITS, "pipes_and_eventfds_wait_and_transfer_as_the_kernel_does"),
    ("FEAT_NATIVE_WORKERS", IDENTITY, "after_setuid_workers_from_before_have_the_new_users_rights"),
    ("FEAT_LINKED_FILE", SETUP, FEATURES),
    ("FEAT_MIN_TIMEOUT", SETUP, FEATURES),
    ("FEAT_NO_IOWAIT", SETUP, FEATURES),
    ("SQ_NEED_WAKEUP", MODES, "an_idle_submission_thread_burns_nothing_and_wakes_when_called"),
    ("SQ_CQ_OVERFLOW", WAITS, OVERFLOW),
    ("SQ_TASKRUN", ENGINE, "deferred_work_signals_the_eventfd"),
    ("CQE_F_MORE", WAITS, "polls_fire_and_are_removed"),
];

/// Differentials that are claims: row, and the claim of what it is for, which holds on both rings.
const CLAIMED: &[(&str, &str)] = &[
    ("CQE_F_32", "a_wide_completion_takes_two_slots"),
    ("CQE_F_NOTIF", "a_notification_comes_before_what_follows"),
    ("SENDMSG", "descriptors_travel_in_control_data"),
    ("RECVSEND_FIXED_BUF", "a_zero_copy_message_takes_a_registered_buffer"),
    ("SEND_VECTORIZED", "a_vector_is_sent"),
    ("CQE_F_SKIP", "a_filler_takes_the_last_slot"),
    ("MSG_RING", "messages_arrive_in_order"),
    ("MSG_RING_CQE_SKIP", "a_file_can_be_sent"),
    ("MSG_RING_FLAGS_PASS", "a_message_can_carry_flags"),
    ("REGISTER_DST_REPLACE", "a_clone_replaces_a_range"),
    ("REGISTER_SRC_REGISTERED", "a_clone_is_of_a_registered_ring"),
    ("REGISTER_SEND_MSG_RING", "a_message_needs_no_ring_of_its_own"),
    ("REGISTER_RESTRICTIONS", "restrictions_are_registered_once"),
    ("REGISTER_RING_FDS", "a_ring_registration_stops_at_the_first_error"),
    ("UNREGISTER_RING_FDS", "a_ring_lives_as_long_as_its_index"),
    ("ENTER_REGISTERED_RING", "a_registered_ring_is_entered_by_index"),
    ("REGISTER_PERSONALITY", "a_personality_keeps_the_rights_it_was_registered_with"),
    ("UNREGISTER_PERSONALITY", "a_personality_is_unregistered_while_in_use"),
    ("FEAT_REG_REG_RING", "a_ring_is_registered_with_by_index"),
    ("REGISTER_CLOCK", "a_ring_can_wait_by_another_clock"),
    ("UNREGISTER_NAPI", "busy_polling_is_set_and_told"),
    ("WAITID", "a_waitid_tells_how_its_child_ended"),
    ("FUTEX_WAITV", "a_waitv_says_which_futex_woke_it"),
    ("SOCKET_URING_OP_SIOCINQ", "sockets_tell_what_is_queued"),
    ("SOCKET_URING_OP_SIOCOUTQ", "sockets_tell_what_is_queued"),
    ("SOCKET_URING_OP_GETSOCKOPT", "socket_options_are_set_and_read"),
    ("SOCKET_URING_OP_SETSOCKOPT", "socket_options_are_set_and_read"),
    ("SOCKET_URING_OP_TX_TIMESTAMP", "transmit_timestamps_are_told_as_they_come"),
    ("RECV_MULTISHOT", "a_multishot_recv_ends_with_the_stream"),
    ("RECVSEND_BUNDLE", "a_bundle_receives_into_several_buffers"),
    ("SEND_VECTORIZED", "a_vectorised_send_sends_what_its_iovecs_say"),
    ("FEAT_RECVSEND_BUNDLE", "a_bundle_sends_several_buffers"),
    ("CQE_F_BUFFER", "the_completion_names_the_buffer"),
    ("CQE_F_BUF_MORE", "an_incremental_buffer_is_used_up"),
    ("PBUF_RING_MMAP", "a_mapped_buffer_ring_stays_readable"),
    ("PBUF_RING_INC", "an_incremental_buffer_is_used_up"),
    ("UNREGISTER_PBUF_RING", "a_group_can_go_under_a_pending_read"),
    ("REGISTER_PBUF_STATUS", "pending_reads_take_buffers_when_they_complete"),
    ("READ_MULTISHOT", "a_multishot_read_ends_with_the_stream"),
    ("PROVIDE_BUFFERS", "a_list_is_first_in_first_out"),
    ("REMOVE_BUFFERS", "a_removal_counts"),
    ("IOSQE_BUFFER_SELECT", "the_completion_names_the_buffer"),
];

/// Errno orders that are claims.
const CLAIMED_ORDERS: &[(&str, &str)] = &[
    ("MEM_REGION_TYPE_USER", "a_region_is_checked_field_by_field"),
    ("REG_WAIT_TS", "a_registered_argument_is_checked"),
    ("URING_CMD_FIXED", "flags_of_a_command_are_checked"),
    ("SOCKET_URING_OP_SIOCINQ", "sockets_tell_what_is_queued"),
    ("SOCKET_URING_OP_SIOCOUTQ", "sockets_tell_what_is_queued"),
    ("SOCKET_URING_OP_GETSOCKOPT", "socket_options_are_set_and_read"),
    ("SOCKET_URING_OP_SETSOCKOPT", "socket_options_are_set_and_read"),
    ("SOCKET_URING_OP_TX_TIMESTAMP", "a_transmit_timestamp_needs_wide_completions"),
    ("PBUF_RING_MMAP", "a_mapped_buffer_ring_stays_readable"),
    ("PBUF_RING_INC", "an_incremental_buffer_is_used_up"),
];

/// Features, and the row that a program draws to use them.
const DRAWN_AS: &[(&str, &str)] = &[
    ("FEAT_POLL_32BITS", "POLL_ADD"),
    ("FEAT_SQPOLL_NONFIXED", "SETUP_SQPOLL"),
    ("FEAT_EXT_ARG", "ENTER_EXT_ARG"),
    ("FEAT_RSRC_TAGS", "REGISTER_FILES2"),
    ("FEAT_CQE_SKIP", "IOSQE_CQE_SKIP_SUCCESS"),
];

/// Rows whose value stands in a field of a recorded table: row, table, try.
const VALUES: &[(&str, &str, &str)] = &[
    ("IOSQE_FIXED_FILE", "READ", "slot=0"),
    ("ENTER_GETEVENTS", "ENTER", "arg3=0x0"),
    ("RSRC_REGISTER_SPARSE", "REGISTER_FILES2", "word4=0x1"),
    ("FILE_INDEX_ALLOC", "OPENAT", "fileindex=0xffffffff"),
    ("REGISTER_DST_REPLACE", "REGISTER_CLONE_BUFFERS", "word4=0x2"),
    ("MEM_REGION_REG_WAIT_ARG", "REGISTER_MEM_REGION", "long8=0x1"),
    ("REGISTER_SRC_REGISTERED", "REGISTER_CLONE_BUFFERS", "word4=0x1"),
];

/// Errno orders that a fixed program shows.
const ORDERS: &[Program] = &[
    ("IOSQE_IO_LINK", ENGINE, "a_broken_chain_posts_what_the_kernels_does"),
    ("IOSQE_IO_HARDLINK", ENGINE, "a_broken_chain_posts_what_the_kernels_does"),
    ("REGISTER_FILES_SKIP", ENGINE, "registration_goes_entry_by_entry"),
    ("RWF_SYNC", SETUP, FEATURES),
    ("RWF_APPEND", SETUP, FEATURES),
];

/// Words that only the program writes: there is no errno for them.
const WITHOUT_ERRNO: &[&str] = &["CQ_EVENTFD_DISABLED"];

/// The tries of every recorded table.
fn tries() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut table = "";
    for line in RECORDED.lines() {
        match line.strip_prefix("## ") {
            Some(name) => table = name,
            None => all.entry(table).or_default().extend(line.split(' ').next_back()),
        }
    }
    all
}

/// Whether a try puts this bit into the field, alone or with one more.
fn tries_bit(attempt: &str, field: &str, bit: u64) -> bool {
    let value = attempt.strip_prefix(field).and_then(|rest| rest.strip_prefix(['=', '|']));
    let value = value.and_then(|v| u64::from_str_radix(v.strip_prefix("0x")?, 16).ok());
    value.is_some_and(|v| v & bit != 0 && v.count_ones() <= 2)
}

fn field_name(field: Field) -> &'static str {
    match field {
        Field::Flags => "flags",
        Field::Ioprio => "ioprio",
        Field::OpFlags => "opflags",
        Field::Len => "len",
        Field::AttrMask => "pad2",
    }
}

fn in_recorded(table: &Table, row: &Row) -> bool {
    let tries = tries();
    let of = |name: &str| tries.get(name).map_or(&[][..], Vec::as_slice);
    if VALUES.iter().any(|(r, t, v)| *r == row.name && of(t).contains(v)) {
        return true;
    }
    let bit = format!("bit{}", row.value.trailing_zeros());
    match table.place {
        Place::Setup => of("SETUP").contains(&&*bit),
        Place::Enter => of("ENTER").contains(&&*bit),
        Place::Sqe(field, ops) => tries.iter().any(|(name, tries)| {
            let here = ops.is_empty() || ops.iter().any(|&op| name_of(op) == Some(name));
            here && tries.iter().any(|t| tries_bit(t, field_name(field), row.value))
        }),
        Place::Opcode | Place::Register | Place::Argument | Place::Told => false,
    }
}

fn name_of(opcode: u8) -> Option<&'static str> {
    let row = rows().find(|(t, r)| t.place == Place::Opcode && r.value == u64::from(opcode));
    row.map(|(_, r)| r.name)
}

/// Whether the list has the row, with a test that is there.
fn by_program(list: &[Program], row: &str) -> bool {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cli/tests");
    list.iter().filter(|(r, ..)| *r == row).any(|(_, file, test)| {
        std::fs::read_to_string(tests.join(file)).is_ok_and(|text| text.contains(test))
    })
}

fn compared(row: &Row) -> bool {
    let drawn = |name: &str| DRAWS.contains(&name);
    drawn(row.name)
        || DRAWN_AS.iter().any(|(told, by)| *told == row.name && drawn(by))
        || by_program(PROGRAMS, row.name)
        || CLAIMED.iter().any(|claimed| holds_a_claim(claimed, row.name))
}

/// Whether this is the row's, and a claim of that name needs it.
fn holds_a_claim((named, claim): &(&str, &str), row: &str) -> bool {
    *named == row && all().any(|c| c.name == *claim && c.needs.contains(&row))
}

fn ordered(table: &Table, row: &Row) -> bool {
    !table.place.is_asked()
        || WITHOUT_ERRNO.contains(&row.name)
        || ROWS.contains(&row.name)
        || in_recorded(table, row)
        || by_program(ORDERS, row.name)
        || CLAIMED_ORDERS.iter().any(|claimed| holds_a_claim(claimed, row.name))
}

#[test]
fn a_row_is_full_only_while_a_differential_and_an_errno_order_test_name_it() {
    let mut broken = Vec::new();
    for (table, row) in rows().filter(|(_, r)| r.support == Support::Full) {
        let place = format!("{} ({})", row.name, table.title);
        if !compared(row) {
            broken.push(format!("{place}: draw it (testkit, differential/draws.rs)"));
        }
        if !ordered(table, row) {
            broken.push(format!("{place}: try it (testkit, fidelity/errno_order)"));
        }
    }
    assert!(broken.is_empty(), "make these rows Partial, or:\n{}", broken.join("\n"));
}

#[test]
fn every_name_that_a_test_claims_is_a_rows() {
    let known = |name: &str| rows().any(|(_, r)| r.name == name);
    let lists = PROGRAMS.iter().chain(ORDERS).chain(VALUES).map(|(row, ..)| *row);
    let drawn_as = DRAWN_AS.iter().flat_map(|(told, by)| [*told, *by]);
    // The calls' own tables are not rows.
    let orders = ROWS.iter().copied().filter(|n| !["SETUP", "ENTER"].contains(n));
    let lists = lists.chain(CLAIMED.iter().map(|(row, _)| *row));
    let names = lists.chain(drawn_as).chain(DRAWS.iter().copied()).chain(orders);
    let unknown: Vec<_> = names.filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "no row has these names: {unknown:?}");
}

#[test]
fn every_fixed_program_is_there() {
    for program in PROGRAMS.iter().chain(ORDERS) {
        let (row, file, test) = program;
        assert!(by_program(&[*program], row), "{test} is not in crates/cli/tests/{file}");
    }
    for claimed in CLAIMED.iter().chain(CLAIMED_ORDERS) {
        let (row, claim) = claimed;
        assert!(holds_a_claim(claimed, row), "{claim} is no claim that needs {row}");
    }
    for (row, table, value) in VALUES {
        let there = tries().get(table).is_some_and(|tries| tries.contains(value));
        assert!(there, "{row}: no {value} in the table of {table}");
    }
}
