//! A terminal for a program under test: a pty of the kernel, read by a parser of its sequences.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZero,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

/// What was on the screen, and all that was written.
struct Seen {
    parser: vt100::Parser,
    raw: Vec<u8>,
    /// The screen after the last whole frame, or after what was written outside of frames.
    whole: String,
    /// Screens that differ from the one before.
    screens: Vec<String>,
}

/// A synchronized update (mode 2026): the terminal shows what comes between them at once.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

fn last(of: &[u8], mark: &[u8]) -> Option<usize> {
    of.windows(mark.len()).rposition(|window| window == mark)
}

impl Seen {
    fn takes(&mut self, bytes: &[u8]) {
        let mut done = self.raw.len();
        self.raw.extend(bytes);
        while done < self.raw.len() {
            // As far as the next end of a frame, whose mark may have begun before.
            let from = done.saturating_sub(END.len() - 1);
            let end =
                self.raw[from..].windows(END.len()).position(|window| window == END).map(|at| from + at + END.len());
            let to = end.filter(|end| *end > done).unwrap_or(self.raw.len());
            self.parser.process(&self.raw[done..to]);
            done = to;
            if last(&self.raw[..to], BEGIN) > last(&self.raw[..to], END) {
                continue;
            }
            self.whole = self.parser.screen().contents();
            if self.screens.last() != Some(&self.whole) {
                self.screens.push(self.whole.clone());
            }
        }
    }
}

/// A program at a terminal; dropped, it is killed.
pub struct Pty {
    master: File,
    slave: OwnedFd,
    child: Child,
    seen: Arc<Mutex<Seen>>,
    /// Of the screens the one that was found last.
    found: AtomicUsize,
    modes: Termios,
}

/// `(columns, rows)`
pub type Size = (u16, u16);

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a screen has a size")
}

fn winsize((columns, rows): Size) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Pty {
    /// Starts a command whose terminal this is. It must run `setsid --ctty` in place, so that the process stays the same.
    pub fn start(mut command: Command, size: Size) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the kernel has ptys");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a pty can be unlocked");
        let name = ptsname(&master, Vec::new()).expect("a pty has a name");
        let slave = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end opens");
        tcsetwinsize(&slave, winsize(size)).expect("a size can be set");
        let modes = tcgetattr(&slave).expect("it has modes");
        let end = || Stdio::from(slave.try_clone().expect("descriptors are enough"));
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .env("TERM", "xterm-256color")
            .spawn()
            .expect("the program starts");
        let master = File::from(master);
        let parser = vt100::Parser::new(cells(size.1), cells(size.0), 0);
        let seen = Arc::new(Mutex::new(Seen { parser, raw: Vec::new(), whole: String::new(), screens: Vec::new() }));
        let (mut reader, shared) = (master.try_clone().expect("descriptors are enough"), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                shared.lock().expect("the reader does not panic").takes(&chunk[..count]);
            }
        });
        Self { master, slave, child, seen, found: AtomicUsize::new(0), modes }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What is on the screen: a frame is there when it is whole.
    pub fn screen(&self) -> String {
        self.seen.lock().expect("the reader does not panic").whole.clone()
    }

    /// Every screen so far.
    pub fn screens(&self) -> Vec<String> {
        self.seen.lock().expect("the reader does not panic").screens.clone()
    }

    /// All that was written.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("the reader does not panic").raw).into_owned()
    }

    /// Waits until the screen shows this. A screen that was there and is gone counts, from the one on that was found last: who waits here
    /// may have had no CPU meanwhile.
    #[track_caller]
    pub fn shows(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut next = self.found.load(Relaxed);
        loop {
            let new = self.seen.lock().expect("the reader does not panic").screens[next..].to_vec();
            for screen in new {
                if condition(&screen) {
                    self.found.store(next, Relaxed);
                    return screen;
                }
                next += 1;
            }
            let screen = self.screen();
            if condition(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what} was never shown\n{screen}\n--- all of it\n{:?}", self.raw());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Another size; the program gets SIGWINCH.
    pub fn resize(&self, size: Size) {
        let mut seen = self.seen.lock().expect("the reader does not panic");
        seen.parser.screen_mut().set_size(cells(size.1), cells(size.0));
        // What was drawn for the other size is no answer.
        self.found.store(seen.screens.len(), Relaxed);
        drop(seen);
        tcsetwinsize(&self.slave, winsize(size)).expect("a size can be set");
    }

    /// Are the modes as they were before it started, the cursor shown and the usual screen back?
    #[track_caller]
    pub fn is_given_back(&self) {
        let now = tcgetattr(&self.slave).expect("it has modes");
        let modes = |modes: &Termios| (modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes);
        assert_eq!(modes(&now), modes(&self.modes), "the modes of the terminal");
        // It writes no more, but the thread that reads may not have had its turn yet.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = self.seen.lock().expect("the reader does not panic");
            let (other, hidden) = (seen.parser.screen().alternate_screen(), seen.parser.screen().hide_cursor());
            drop(seen);
            if !other && !hidden {
                return;
            }
            assert!(Instant::now() < deadline, "on the other screen still: {other}, without a cursor: {hidden}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Is it on the other screen, with modes of its own?
    pub fn is_taken(&self) -> bool {
        let now = tcgetattr(&self.slave).expect("it has modes");
        now.local_modes != self.modes.local_modes
            && self.seen.lock().expect("the reader does not panic").parser.screen().alternate_screen()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Waits for its end: exit code and signal. What it wrote has been read then.
    #[track_caller]
    pub fn ends(&mut self) -> (Option<i32>, Option<i32>) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.drained();
                return (status.code(), status.signal());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end\n{}", self.screen());
    }

    /// Nothing more has come for a while: the terminal is still open here, so that its end is not heard.
    fn drained(&self) {
        let mut before = usize::MAX;
        loop {
            let now = self.seen.lock().expect("the reader does not panic").raw.len();
            if now == before {
                return;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
