//! The terminal of stderr, taken and given back.

use std::{
    io::{self, Stderr, Write},
    sync::{
        Arc, Mutex, Once, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use ratatui::{Frame, Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, layout::Rect};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Another screen, no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H";
/// No frame half drawn, no colors, the cursor, the screen that was there before.
const LEAVE: &str = "\x1b[?2026l\x1b[0m\x1b[?25h\x1b[?1049l";
/// What comes between them is shown at once, by terminals that know it (synchronized update); the others ignore it.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";
/// A terminal that does not say its size.
const UNKNOWN: (u16, u16) = (80, 24);
/// How long the end waits for a drawing to be done.
const PATIENCE: Duration = Duration::from_millis(500);

/// The modes to give back; none while nothing was taken.
static TAKEN: Mutex<Option<(Termios, Arc<AtomicBool>)>> = Mutex::new(None);
/// Held by who writes to the terminal.
static PEN: Mutex<()> = Mutex::new(());
static HOOK: Once = Once::new();

/// The screen that the view draws on.
pub struct Screen {
    terminal: Option<Terminal<CrosstermBackend<Stderr>>>,
    size: (u16, u16),
    down: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal. `down` tells whether it is given back.
    pub fn enter(down: Arc<AtomicBool>) -> io::Result<Self> {
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        let mut screen = Self { terminal: None, size: (0, 0), down };
        screen.again()?;
        Ok(screen)
    }

    /// Takes it again after [`Screen::leave`].
    pub fn again(&mut self) -> io::Result<()> {
        let before = tcgetattr(io::stderr())?;
        let mut modes = before.clone();
        // No lines and no echo; Ctrl-C stays a signal.
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some((before, Arc::clone(&self.down)));
        self.down.store(false, SeqCst);
        let taken = tcsetattr(io::stderr(), OptionalActions::Drain, &modes)
            .map_err(io::Error::from)
            .and_then(|()| io::stderr().write_all(ENTER.as_bytes()));
        if taken.is_err() {
            give_back();
        }
        self.terminal = None;
        taken
    }

    /// Gives it back.
    pub fn leave(&mut self) {
        give_back();
    }

    /// Draws, on a screen of whatever size it has now. Does nothing once it was given back.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let _pen = PEN.lock().unwrap_or_else(PoisonError::into_inner);
        if TAKEN.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let size = tcgetwinsize(io::stderr()).map_or(UNKNOWN, |size| (size.ws_col, size.ws_row));
        let size = if size.0 == 0 || size.1 == 0 { UNKNOWN } else { size };
        io::stderr().write_all(BEGIN)?;
        let terminal = match &mut self.terminal {
            Some(terminal) if size == self.size => terminal,
            terminal => {
                io::stderr().write_all(b"\x1b[0m\x1b[2J")?;
                let viewport = Viewport::Fixed(Rect::new(0, 0, size.0, size.1));
                let backend = CrosstermBackend::new(io::stderr());
                self.size = size;
                terminal.insert(Terminal::with_options(backend, TerminalOptions { viewport })?)
            }
        };
        terminal.draw(draw)?;
        io::stderr().write_all(END)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once; also called by a panic of any thread, which may be the one that draws.
fn give_back() {
    let deadline = Instant::now() + PATIENCE;
    let _pen = loop {
        match PEN.try_lock() {
            Ok(pen) => break Some(pen),
            Err(TryLockError::Poisoned(pen)) => break Some(pen.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => break None,
        }
    };
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((modes, down)) = taken {
        let mut stderr = io::stderr();
        // A terminal that is gone needs nothing back.
        let _ = stderr.write_all(LEAVE.as_bytes()).and_then(|()| stderr.flush());
        let _ = tcsetattr(&stderr, OptionalActions::Drain, &modes);
        down.store(true, SeqCst);
    }
}
