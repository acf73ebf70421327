//! What is on the screen, cell by cell.

use super::super::meter::{OpcodeRow, Reading, RingRow};
use super::columns::Column;
use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ringer_engine::trace::RingState;

fn row(pid: u32, program: &str, requests: f64) -> Row {
    let state = RingState {
        ring: 1 << 16,
        in_flight: 32,
        polled: 5,
        workers: 2,
        backlog: 0,
        cq_ready: 3,
        cq_entries: 64,
        ..RingState::default()
    };
    let ring = RingRow { number: 1, requests, completions: requests - 1.0, state };
    let latency_ns = Some((10_200, 31_000));
    let read = OpcodeRow { opcode: 22, completions: requests - 1.0, errors: 0.0, latency_ns };
    let failing = OpcodeRow { opcode: 13, completions: 2.0, errors: 2.0, latency_ns: None };
    let reading = Reading { rings: vec![ring], opcodes: vec![read, failing], latency_ns };
    let (refused, history) = (None, vec![1.0, requests]);
    Row { pid, program: program.into(), refused, reading, lost: 0, history }
}

fn two() -> View {
    let mut view = View::new(false);
    view.set(vec![row(12, "small", 10.0), row(4711, "fio", 91_600.0)]);
    view
}

fn key(view: &mut View, code: KeyCode) -> Wish {
    view.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// The screen's lines, blanks at their ends cut.
fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[track_caller]
fn fields(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_terminal_of_three_lines_shows_totals() {
    let lines = screen(&two(), 60, 3);
    assert!(
        lines[0].starts_with("ringer top  91.6k req/s  91.6k done/s  64 in flight"),
        "{lines:?}"
    );
    assert!(lines[2].contains("fio"), "{lines:?}");
}

#[test]
fn no_size_of_a_terminal_is_too_small() {
    const SIZES: [u16; 8] = [0, 1, 2, 3, 4, 7, 14, 30];
    let mut view = two();
    for _ in 0..2 {
        for help in [true, false] {
            view.help = help;
            for (width, height) in SIZES.iter().flat_map(|&w| SIZES.map(|h| (w, h))) {
                screen(&view, width, height);
            }
        }
        key(&mut view, KeyCode::Enter);
    }
    let lines = screen(&view, 1, 1);
    assert_eq!(lines, ["r"]);
}

#[test]
fn the_busiest_process_comes_first_with_all_columns_where_there_is_room() {
    let lines = screen(&two(), 110, 24);
    let titles = lines.iter().position(|l| l.contains("PROGRAM")).unwrap();
    assert_eq!(
        fields(&lines[titles]),
        [
            "PID", "PROGRAM", "RINGS", "REQ/S", "DONE/S", "FLIGHT", "ARMED", "WORK", "LATE", "P50",
            "P99", "ERR/S"
        ]
    );
    assert_eq!(
        fields(&lines[titles + 1]),
        ["4711", "fio", "1", "91.6k", "91.6k", "32", "5", "2", "0", "10.2us", "31.0us", "2"]
    );
    assert_eq!(fields(&lines[titles + 2])[..2], ["12", "small"]);
    assert!(lines[1].contains("requests/s of all, at most 91.6k"), "{}", lines[1]);
    assert!(lines[23].starts_with("q quit  s sort: requests"), "{}", lines[23]);
}

#[test]
fn columns_that_do_not_fit_are_left_out_and_what_stays_is_whole() {
    let lines = screen(&two(), 42, 10);
    assert_eq!(fields(&lines[1]), ["PID", "PROGRAM", "REQ/S", "FLIGHT"]);
    assert_eq!(fields(&lines[2]), ["4711", "fio", "91.6k", "32"]);
    assert_eq!(fitting(0), [Column::Pid]);
    assert_eq!(fitting(200).len(), 12);
}

#[test]
fn the_selected_process_shows_its_opcodes_and_rings() {
    let mut view = two();
    assert_eq!(key(&mut view, KeyCode::Up), Wish::Draw);
    assert_eq!(key(&mut view, KeyCode::Enter), Wish::Draw);
    let lines = screen(&view, 100, 24);
    let has = |wanted: &[&str]| lines.iter().any(|l| fields(l) == wanted);
    assert!(lines[1].contains("requests/s of 4711 fio"), "{lines:?}");
    assert!(has(&["OPCODE", "DONE/S", "ERR/S", "P50", "P99"]), "{lines:?}");
    assert!(has(&["READ", "91.6k", "0", "10.2us", "31.0us"]), "{lines:?}");
    assert!(has(&["ACCEPT", "2", "2", "-", "-"]), "{lines:?}");
    assert!(has(&["1", "91.6k", "91.6k", "32", "5", "2", "0", "3/64"]), "{lines:?}");
    key(&mut view, KeyCode::Esc);
    assert!(screen(&view, 100, 24)[1].contains("of all"));
}

#[test]
fn what_ends_is_selected_no_more() {
    let mut view = two();
    key(&mut view, KeyCode::Up);
    key(&mut view, KeyCode::Enter);
    view.set(vec![row(12, "small", 10.0)]);
    assert_eq!((view.selected, view.detail), (Some(12), false));
    view.set(Vec::new());
    assert!(screen(&view, 80, 24).iter().any(|l| l.contains("ringer run --native never -- PROG")));
    assert_eq!(key(&mut view, KeyCode::Down), Wish::Draw);
    key(&mut view, KeyCode::Enter);
    assert!(!view.detail);
}

#[test]
fn why_a_process_is_not_watched_is_said_when_it_is_selected() {
    let mut view = two();
    let refused = Some("process 99 watches it".to_owned());
    view.set(vec![Row { refused, reading: Reading::default(), ..row(7, "busy", 0.0) }]);
    let lines = screen(&view, 100, 24);
    assert!(lines.iter().any(|l| l == "7 is not watched: process 99 watches it"), "{lines:?}");
    assert!(lines.iter().any(|l| fields(l).starts_with(&["7", "busy", "-", "-"])), "{lines:?}");
}

#[test]
fn sorting_goes_through_all_orders_and_back() {
    let mut view = two();
    let mut first = || {
        key(&mut view, KeyCode::Char('s'));
        (view.sort, view.rows[0].pid)
    };
    let seen = [first(), first(), first(), first()];
    let orders = [Sort::Flight, Sort::P99, Sort::Pid, Sort::Requests];
    assert_eq!(seen.map(|(sort, _)| sort), orders);
    assert_eq!((seen[2].1, seen[3].1), (12, 4711));
}

#[test]
fn help_is_shown_and_quitting_works_from_everywhere() {
    let mut view = two();
    key(&mut view, KeyCode::Char('h'));
    let lines = screen(&view, 80, 24);
    assert!(lines.iter().any(|l| l.contains("sort by the next column")), "{lines:?}");
    assert!(lines.iter().any(|l| l.contains("from submission to completion")), "{lines:?}");
    assert_eq!(key(&mut view, KeyCode::Char('q')), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(interrupt), Wish::Quit);
    assert_eq!(key(&mut view, KeyCode::Char('x')), Wish::Nothing);
}

#[test]
fn numbers_are_short() {
    let shown = [0.0, 0.4, 7.2, 9_999.0, 10_000.0, 2_500_000.0, f64::NAN, -1.0].map(number);
    assert_eq!(shown, ["0", "0.4", "7", "9999", "10.0k", "2.50M", "0", "0"]);
}
