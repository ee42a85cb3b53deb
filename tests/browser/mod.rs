//! A real browser without a window, driven over its DevTools protocol through a pair of pipes.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// A browser with one page; dropped, it is gone.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    folder: std::path::PathBuf,
    session: Option<String>,
    number: u64,
    /// Every event so far, in order.
    pub events: Vec<Value>,
}

impl Browser {
    /// Starts it; `None` where there is none.
    pub fn start(name: &str) -> Option<Self> {
        let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|program| {
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        })?;
        let folder = std::env::temp_dir().join(format!("netbench-browser-{name}-{}", std::process::id()));
        // It reads commands from descriptor 3 and writes answers to 4, which the shell makes of our pipes. Its sandbox cannot be had
        // as root, and it opens nothing but our own page.
        let script = r#"exec "$0" --headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage \
            --no-first-run --disable-background-networking --user-data-dir="$1" about:blank 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1"#;
        let mut child = Command::new("sh")
            .args(["-c", script, found])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        let mut browser = Self { child, to, from, folder, session: None, number: 0, events: Vec::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// A command and its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).and_then(|()| self.to.flush()).expect("the browser reads");
        loop {
            let message = self.next();
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("the browser answers");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        let message: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        if message["id"].is_null() {
            self.events.push(message.clone());
        }
        message
    }

    /// Opens a file and waits until it is loaded. What an earlier page asked for or complained of is forgotten.
    #[track_caller]
    pub fn open(&mut self, page: &Path) {
        self.events.clear();
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            self.next();
        }
    }

    /// The value of an expression in the page. It runs above the page's policy.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let done = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(done["exceptionDetails"].is_null(), "{expression}: {done}");
        done["result"]["value"].clone()
    }

    /// Every drawing has a name, every table a caption and headers, the page a language and one heading of the first order.
    #[track_caller]
    pub fn assert_for_those_who_do_not_see_it(&mut self) {
        for truth in [
            "document.documentElement.lang === 'en'",
            "document.querySelectorAll('h1').length === 1",
            "[...document.querySelectorAll('svg')].every(s => s.getAttribute('role') === 'img' && s.getAttribute('aria-label').length > 5)",
            "[...document.querySelectorAll('table')].every(t => t.caption && t.querySelectorAll('th[scope=col]').length > 1)",
            "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))",
            "[...document.querySelectorAll('h2')].every(h => document.querySelectorAll(`nav a[href='#${h.id}']`).length === 1)",
            "[...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0)",
            "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size === document.querySelectorAll('[id]').length",
        ] {
            assert_eq!(self.value(truth), true, "{truth}");
        }
        // What is wider than a phone scrolls by itself, and never the page.
        for width in [390, 1000] {
            let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
            self.call("Emulation.setDeviceMetricsOverride", metrics);
            let beyond = "[...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && !e.closest('.scroll, [popover]') \
                          && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))";
            assert_eq!(self.value(beyond), json!([]), "cut off at {width} pixels");
        }
        self.call("Emulation.clearDeviceMetricsOverride", json!({}));
        let drawings = self.value("document.querySelectorAll('svg').length").as_u64();
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let role = |role: &str| {
            let nodes = tree["nodes"].as_array().expect("it is there").iter();
            nodes.filter(|node| node["role"]["value"] == role && !node["ignored"].as_bool().unwrap_or(false)).count()
        };
        let told = (role("image") + role("img")) as u64;
        assert!(told > 0 || drawings == Some(0), "the browser tells a screen reader of the drawings");
        assert!(role("heading") >= 3, "and of the headings");
    }

    /// Contrast of words and their ground, by WCAG's formula, is at least 4.5 in light and dark; each selector must find something.
    #[track_caller]
    pub fn assert_readable(&mut self, selectors: &[&str]) {
        let contrast = |selector: &str| {
            format!(
                "(() => {{ const parse = (c) => c.match(/[\\d.]+/g).map(Number); \
                 const light = (c) => {{ const [r, g, b] = parse(c).slice(0, 3).map((v) => {{ v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }}); \
                 return 0.2126 * r + 0.7152 * g + 0.0722 * b; }}; \
                 const ground = (e) => {{ for (; e; e = e.parentElement) {{ const c = getComputedStyle(e).backgroundColor, p = parse(c); if (p.length < 4 || p[3] > 0) return c; }} return 'rgb(255,255,255)'; }}; \
                 return Math.min(...[...document.querySelectorAll({selector:?})].map((e) => {{ const s = getComputedStyle(e); \
                 const [a, b] = [light(e.closest('svg') ? s.fill : s.color), light(ground(e))]; return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }})); }})()"
            )
        };
        let mut grounds = Vec::new();
        for theme in ["light", "dark"] {
            let feature = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
            self.call("Emulation.setEmulatedMedia", feature);
            for selector in selectors {
                let least = self.value(&contrast(selector));
                assert!(least.as_f64().is_some_and(|least| least >= 4.5), "{theme} {selector}: {least}");
            }
            grounds.push(self.value("getComputedStyle(document.body).backgroundColor"));
        }
        self.call("Emulation.setEmulatedMedia", json!({"features": []}));
        assert_ne!(grounds[0], grounds[1]);
    }

    /// Nothing but the page itself was asked for, and nothing was complained of.
    #[track_caller]
    pub fn assert_alone_and_content(&self) {
        let requests = self.requests();
        assert!(requests.len() == 1 && requests[0].starts_with("file:///"), "{requests:?}");
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    /// Presses a key, as a person does.
    pub fn press(&mut self, key: &str, code: u32, text: &str) {
        let down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}));
    }

    /// Clicks in the middle of the element.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + Math.min(r.width / 2, 40), r.y + r.height / 2]; }})()"
        );
        let at = self.value(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// What the page logged, threw, or was refused.
    pub fn complaints(&self) -> Vec<&Value> {
        let kinds = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        self.events.iter().filter(|event| kinds.iter().any(|kind| event["method"] == *kind)).collect()
    }

    /// What it asked for over any protocol.
    pub fn requests(&self) -> Vec<&str> {
        let asked = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        asked.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        // Its own helpers see that it is gone and end; until then the folder may not be empty.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
