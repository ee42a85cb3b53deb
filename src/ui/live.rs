//! The live view: the whole terminal while rounds run, given back at every end.
//!
//! A thread draws what the run told so far and reads keys; the run itself never waits for it. The terminal stays in a mode in
//! which Ctrl-C is a signal, so that it means what it means without the view. While the view is up signals only ask: the thread
//! gives the terminal back first, and then a second one ends the process as always.

mod draw;
mod model;
mod screen;

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::getpgrp,
    termios::tcgetpgrp,
};
use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTSTP},
    flag, low_level,
};

pub use self::model::Model;
use screen::Screen;

/// How often the screen is drawn.
const REDRAW: Duration = Duration::from_millis(125);

/// How the program treats signals that ask it to end.
#[derive(Debug, Clone)]
pub struct Signals {
    /// One has come.
    pub flag: Arc<AtomicBool>,
    /// From now on they only ask.
    pub defer: fn(),
    /// From now on the second one ends at once.
    pub resume: fn(),
}

/// The view, while it is up.
pub struct View {
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl View {
    /// Takes the terminal of stderr.
    ///
    /// # Errors
    /// The reason, in words, why there can be no view.
    pub fn open(signals: Signals) -> Result<Self, String> {
        if !io::stderr().is_terminal() {
            return Err("stderr is no terminal".to_owned());
        }
        if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
            return Err("TERM names no terminal that can be drawn on".to_owned());
        }
        // Changing the modes of a terminal from the background stops the process.
        if tcgetpgrp(io::stderr()).is_ok_and(|foreground| foreground != getpgrp()) {
            return Err("this is not the foreground job of its terminal".to_owned());
        }
        let down = Arc::new(AtomicBool::new(false));
        let asked = Asked::listen(&down).map_err(|error| format!("signals cannot be caught: {error}"))?;
        (signals.defer)();
        let screen = Screen::enter(Arc::clone(&down)).map_err(|error| {
            (signals.resume)();
            format!("the terminal cannot be set: {error}")
        })?;
        let (model, over) = (Arc::new(Mutex::new(Model::default())), Arc::new(AtomicBool::new(false)));
        let (shown, end, resume) = (Arc::clone(&model), Arc::clone(&over), signals.resume);
        let thread = std::thread::Builder::new().name("live".to_owned()).spawn(move || {
            watch(screen, &shown, &asked, || end.load(SeqCst) || signals.flag.load(SeqCst));
            end.store(true, SeqCst);
            (signals.resume)();
        });
        match thread {
            Ok(thread) => Ok(Self { model, over, thread: Some(thread) }),
            Err(error) => {
                // The closure is gone, and the screen with it.
                resume();
                Err(format!("its thread cannot be started: {error}"))
            }
        }
    }

    /// Is it still up? It ends by itself when the program is asked to end.
    pub fn is_up(&self) -> bool {
        !self.over.load(SeqCst)
    }

    /// Changes what is shown.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the terminal back.
    pub fn close(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // Of a panic the hook has told; the screen was left by it.
            let _ = thread.join();
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.close();
    }
}

/// Signals that must find the terminal as it was.
struct Asked {
    quit: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Asked {
    /// While `down`, the signals do what they always do.
    fn listen(down: &Arc<AtomicBool>) -> io::Result<Self> {
        let asked = Self { quit: Arc::default(), stop: Arc::default() };
        for (signal, flag) in [(SIGQUIT, &asked.quit), (SIGTSTP, &asked.stop)] {
            flag::register_conditional_default(signal, Arc::clone(down))?;
            flag::register(signal, Arc::clone(flag))?;
        }
        Ok(asked)
    }
}

/// Draws and reads keys until it is over.
fn watch(mut screen: Screen, model: &Mutex<Model>, asked: &Asked, is_over: impl Fn() -> bool) {
    let mut keys = io::stdin().is_terminal();
    while !is_over() {
        for (flag, signal) in [(&asked.quit, SIGQUIT), (&asked.stop, SIGTSTP)] {
            if flag.swap(false, SeqCst) {
                screen.leave();
                // Stopped here, until somebody lets it go on; of SIGQUIT nobody comes back.
                let _ = low_level::emulate_default_handler(signal);
                if screen.again().is_err() {
                    return;
                }
            }
        }
        let drawn = {
            let model = model.lock().unwrap_or_else(PoisonError::into_inner);
            screen.draw(|frame| draw::draw(frame, &model))
        };
        if drawn.is_err() {
            // The terminal is gone; the run is not.
            return;
        }
        if keys {
            keys = read_keys();
        } else {
            std::thread::sleep(REDRAW);
        }
    }
}

/// Waits for a key until the next drawing is due; `q` asks to end. False when there will be no more keys.
fn read_keys() -> bool {
    let patience = Timespec { tv_sec: 0, tv_nsec: REDRAW.subsec_nanos().into() };
    let stdin = io::stdin();
    let mut wait = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut wait, Some(&patience)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return true,
        Ok(_) => {}
        Err(_) => return false,
    }
    let mut typed = [0; 64];
    match rustix::io::read(&stdin, &mut typed) {
        Ok(0) => false,
        Ok(count) => {
            if typed[..count].iter().any(|key| matches!(key, b'q' | b'Q')) {
                // The same as Ctrl-C, in every respect.
                let _ = low_level::raise(SIGINT);
            }
            true
        }
        Err(error) => error == rustix::io::Errno::INTR || error == rustix::io::Errno::AGAIN,
    }
}
