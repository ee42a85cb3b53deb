//! One test, from a client's cookie to its good-bye.

use std::{
    net::TcpStream,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Options, door::House};
use crate::{
    iperf::{
        Error,
        control::Control,
        course::{About, Closed, Course},
        error_number::{self as number, Refusal},
        params::Params,
        results::Results,
        streams,
        wire::{self, Cookie, State},
    },
    report::iperf3::{self, Session},
};

/// For the client's next word where it has nothing to wait for.
const WORD: Duration = Duration::from_secs(10);
/// For its results: it may have much to drain first.
const RESULTS: Duration = Duration::from_secs(30);
/// A client may be so much later than its own clock says, as at iperf3.
const LATE: Duration = Duration::from_secs(40);
/// Silence after which nothing more is on its way.
const QUIET: Duration = Duration::from_millis(50);

/// Goes through a test. A test that ended early is a session with an error when data had flown, and an error before.
pub fn run(
    stream: TcpStream,
    cookie: &Cookie,
    from: &Receiver<TcpStream>,
    house: &House<'_>,
    options: &Options,
) -> Result<Session, Error> {
    let control = Control::new(stream, house.stop)?;
    let outcome = converse(&control, cookie, from, house, options);
    let early = match &outcome {
        Err(Error::Refusing { refusal, .. }) => Some((State::ServerError, refusal.number)),
        Err(Error::Interrupted) => Some((State::ServerTerminate, 0)),
        _ => None,
    };
    // The client may have gone: then nobody is left to tell.
    if let Some((state, number)) = early {
        let _ = say_error(&control, state, number);
        control.close();
    }
    outcome
}

fn say_error(control: &Control<'_>, state: State, number: i32) -> Result<(), Error> {
    let mut bytes = vec![state.byte()];
    if state == State::ServerError {
        bytes.extend(number.to_be_bytes());
        bytes.extend(0i32.to_be_bytes());
    }
    control.send(&bytes)
}

fn converse(
    control: &Control<'_>,
    cookie: &Cookie,
    from: &Receiver<TcpStream>,
    house: &House<'_>,
    options: &Options,
) -> Result<Session, Error> {
    control.say(State::ParamExchange)?;
    let told = control.hear(wire::PARAMETERS, WORD)?;
    let refusing = |refusal| Error::Refusing { peer: control.peer(), refusal };
    let params = Params::from_json(&told).map_err(refusing)?;
    let length = Duration::from_secs(params.time + params.omit);
    if length > options.max_duration {
        let what = format!("it takes {} s and {} s are the limit", length.as_secs(), options.max_duration.as_secs());
        return Err(refusing(Refusal::new(number::DURATION, what)));
    }
    if params.parallel > options.max_streams {
        let what = format!("{} streams are asked for and {} are the limit", params.parallel, options.max_streams);
        return Err(refusing(Refusal::new(number::STREAMS, what)));
    }
    let listener = streams::datagram_listener(&params, control)?;
    control.say(State::CreateStreams)?;
    let sockets = streams::accept(&params, control, from, listener)?;
    control.send(&[State::TestStart.byte(), State::TestRunning.byte()])?;
    let mut course = Course::start(&params, true, sockets, options.every)?;
    let until = match params.time {
        0 => options.max_duration,
        _ => length + LATE,
    };
    let ran = wait(control, &mut course, Instant::now() + until);
    let peer = control.peer();
    let about = About {
        params: &params,
        server: true,
        cookie,
        peer: (peer.ip().to_canonical().to_string(), peer.port()),
        machine: &options.machine,
        every: options.every,
    };
    let (closed, outcome) = finish(control, course, ran, &about, house);
    let (remote, error) = match outcome {
        Ok(remote) => (Some(remote), None),
        Err(error) => (None, Some(error)),
    };
    if let Some(error @ (Error::Interrupted | Error::Refusing { .. })) = &error {
        let (state, number) = match error {
            Error::Refusing { refusal, .. } => (State::ServerError, refusal.number),
            _ => (State::ServerTerminate, 0),
        };
        let _ = say_error(control, state, number); // the client may have gone
        control.close();
    }
    Ok(closed.session(&about, remote.as_ref(), error.as_ref()))
}

/// Lets the streams run until the client says that it is over.
fn wait(control: &Control<'_>, course: &mut Course, until: Instant) -> Result<(), Error> {
    loop {
        course.tick();
        if control.is_ready(Duration::from_millis(10)) {
            return control.expect(State::TestEnd, WORD);
        }
        if control.stopped() {
            return Err(Error::Interrupted);
        }
        if Instant::now() >= until {
            let refusal = Refusal::new(number::DURATION_EXPIRED, "it did not end in time");
            return Err(Error::Refusing { peer: control.peer(), refusal });
        }
    }
}

/// Ends the streams and exchanges results.
fn finish(
    control: &Control<'_>,
    course: Course,
    ran: Result<(), Error>,
    about: &About<'_>,
    house: &House<'_>,
) -> (Closed, Result<Results, Error>) {
    if let Err(error) = ran {
        course.guests().stop();
        return (course.close(), Err(error));
    }
    course.guests().finish(QUIET);
    let closed = course.close();
    // The client reads on until it sees the end of these.
    closed.guests.shut_senders();
    let exchange = || {
        control.say(State::ExchangeResults)?;
        let told = control.hear(wire::RESULTS, RESULTS)?;
        let mut mine = closed.results();
        let foreign = || Error::Foreign {
            peer: control.peer(),
            what: "its results are no object with a list of streams".to_owned(),
        };
        let remote = Results::from_json(&told, mine.streams.len()).ok_or_else(foreign)?;
        if about.params.get_server_output {
            mine.server_output = Some(json!(iperf3::text(&closed.session(about, Some(&remote), None))));
        }
        control.tell(&mine.to_json())?;
        if let Some(active) = &mut *house.active() {
            active.leaving = true;
        }
        control.say(State::DisplayResults)?;
        // Whatever the good-bye is, the test is complete.
        let _ = control.state(WORD);
        Ok(remote)
    };
    let outcome = exchange();
    (closed, outcome)
}
