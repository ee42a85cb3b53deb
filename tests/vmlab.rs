//! `scripts/vmlab` as its users see it: output and exit status of a command, a prompt, an end in time, and what it says where
//! something is missing. Few boots, since each takes seconds; what needs none gets none.

mod lab;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

const CLONE: &str = env!("CARGO_MANIFEST_DIR");

fn vmlab(args: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "300", "scripts/vmlab"]).args(args).current_dir(CLONE);
    command.env_remove("VMLAB_SECONDS").envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("timeout starts")
}

fn done(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut child = vmlab(args, variables);
    drop(child.stdin.take());
    child.wait_with_output().expect("its output")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Is the machine there? `scripts/test` fetches it first.
fn is_there() -> bool {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let there = Path::new(CLONE).join(target).join("vmlab/initrd").exists();
    if !there {
        lab::skip("the lab's machine is not there: scripts/vmlab fetch");
    }
    there
}

#[test]
fn output_and_status_are_the_commands_and_the_end_is_in_time() {
    if !is_there() {
        return;
    }
    let script = "echo \"in the lab: $*\"; uname -r; ls -1 /sys/class/net; echo beside >&2; touch /usr/mark; exit 3";
    let ran = done(&["run", "sh", "-c", script, "sh", "two words", "$HOME '"], &[]);
    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        (lines[0], &lines[2..]),
        ("in the lab: two words $HOME '", &["eth0", "eth1", "lo", "beside"][..]),
        "{said}"
    );
    // The guest's kernel, and not this machine's; what is written there is gone.
    let own = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    assert_ne!(lines[1], own.trim(), "{said}");
    assert!(!Path::new("/usr/mark").exists());
    // After the guest is ready, and before.
    for (seconds, boot) in [("10", "180"), ("1", "180")] {
        let ran = done(&["run", "sleep", "250"], &[("VMLAB_SECONDS", seconds), ("VMLAB_BOOT_SECONDS", boot)]);
        assert_eq!(ran.status.code(), Some(97), "{seconds}: {ran:?}");
        assert!(text(&ran.stderr).contains(&format!("ended after {seconds} s (VMLAB_SECONDS)")), "{ran:?}");
    }
    let ran = done(&["run", "true"], &[("VMLAB_BOOT_SECONDS", "1")]);
    assert_eq!(ran.status.code(), Some(96), "{ran:?}");
    assert!(text(&ran.stderr).contains("attempt 3 did not boot"), "{ran:?}");
}

/// What the command prints is seen while it runs, and who ends the script ends the machine.
#[test]
fn output_streams_and_an_interrupted_machine_ends() {
    if !is_there() {
        return;
    }
    let mut machine = Command::new("scripts/vmlab");
    machine.args(["run", "sh", "-c", "echo begun; exec sleep 250"]).current_dir(CLONE).env("VMLAB_SECONDS", "280");
    let mut machine = machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the script starts");
    let mut line = String::new();
    let mut output = BufReader::new(machine.stdout.take().expect("piped"));
    while !line.contains("begun") && output.read_line(&mut line).is_ok_and(|read| read > 0) {}
    assert!(line.contains("begun") && machine.try_wait().expect("its state").is_none(), "{line}");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", machine.id())).expect("its children");
    let of_it =
        |pid: &&str| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("vmlab"));
    let qemu: Vec<&str> = children.split_whitespace().filter(of_it).collect();
    assert!(!qemu.is_empty(), "{children}");
    assert!(Command::new("kill").arg(machine.id().to_string()).status().is_ok_and(|status| status.success()));
    assert_eq!(machine.wait().expect("its status").code(), Some(130));
    let gone = || qemu.iter().all(|pid| fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty()));
    assert!(lab::eventually(lab::PATIENCE, gone), "{qemu:?}");
}

/// A prompt ends in `# `; what is typed before it is there goes nowhere.
#[test]
fn a_shell_gives_a_prompt_and_its_status() {
    if !is_there() {
        return;
    }
    let mut shell = vmlab(&["shell"], &[]);
    let (mut seen, mut byte) = (Vec::new(), [0]);
    let mut output = shell.stdout.take().expect("piped");
    while !seen.ends_with(b"# ") && output.read(&mut byte).is_ok_and(|read| read == 1) {
        seen.push(byte[0]);
    }
    shell.stdin.as_mut().expect("piped").write_all(b"echo $((6 * 7)); exit 4\n").expect("the shell reads");
    output.read_to_end(&mut seen).expect("its output");
    let said = text(&seen);
    assert!(said.lines().any(|line| line.trim_end().ends_with("42")), "{said}");
    assert_eq!(shell.wait().expect("its status").code(), Some(4), "{said}");
}

#[test]
fn what_is_not_asked_for_rightly_is_a_usage_error() {
    for args in [&[][..], &["boot"], &["run"], &["--nics", "3"]] {
        let ran = done(args, &[]);
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {ran:?}");
        assert!(text(&ran.stderr).contains("see scripts/vmlab --help") || text(&ran.stderr).contains("See"), "{ran:?}");
    }
    let help = done(&["--help"], &[]);
    assert!(help.status.success() && text(&help.stdout).contains("scripts/vmlab shell"), "{help:?}");
}

/// A folder of programs that stand in for those of the machine, and a target folder of its own.
struct Stage(PathBuf);

impl Stage {
    fn new(name: &str, programs: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vmlab-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        for (program, script) in programs {
            let path = folder.join("bin").join(program);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        Self(folder)
    }

    fn fetch(&self) -> Output {
        self.run(&["fetch"], &[])
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.0.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let target = self.0.join("target").display().to_string();
        done(args, &[&[("PATH", path.as_str()), ("CARGO_TARGET_DIR", target.as_str())], variables].concat())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Without a mirror that has the kernel's source all else goes on, and it is said which tests will fail, and why.
#[test]
fn a_netdevsim_that_cannot_be_built_is_named_and_the_rest_goes_on() {
    let stage = Stage::new(
        "netdevsim",
        &[
            ("qemu-system-x86_64", "echo 'name \"igb\", bus PCI'"),
            ("apt-get", "echo 'E: Unable to locate package linux-source' >&2; exit 100"),
            ("dpkg-deb", "echo 6.12.1-1"),
        ],
    );
    let lab = stage.0.join("target/vmlab");
    fs::create_dir_all(&lab).expect("a folder");
    for (file, text) in [("version", "6.12.1-amd64\n"), ("initrd", "x"), ("linux-image-6.12.1-amd64_1.deb", "x")] {
        fs::write(lab.join(file), text).expect("a file");
    }
    let ran = stage.fetch();
    let said = text(&ran.stderr);
    assert!(ran.status.success(), "{ran:?}");
    assert!(said.contains("Unable to locate package linux-source"), "{said}");
    assert!(said.contains("netdevsim could not be built") && said.contains("the tests of it will fail"), "{said}");
    assert!(!lab.join("netdevsim").exists(), "what was fetched is thrown away");
}

#[test]
fn a_qemu_without_the_nic_is_named() {
    let programs = [
        ("qemu-system-x86_64", "echo 'name \"e1000\", bus PCI'"),
        ("apt-get", "echo 'E: no network' >&2; exit 100"),
        ("sudo", "exit 1"),
    ];
    let ran = Stage::new("qemu", &programs).fetch();
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert!(said.contains("igb") && said.contains("8.0 or newer"), "{said}");
}

/// The machine as an ordinary user has it where QEMU is installed: the clone is put where that user can read it.
#[test]
fn an_ordinary_user_needs_no_privilege() {
    // Who is one has run the other tests so.
    if !is_there() || !lab::is_root() || !lab::require(&["unshare", "setpriv"]) {
        return;
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let machine = Path::new(CLONE).join(target).join("vmlab");
    let script = r#"
        mount -t tmpfs -o mode=755 tmpfs /mnt
        mkdir -p /mnt/clone /mnt/machine /mnt/target/vmlab
        mount --bind "$1" /mnt/clone
        mount --bind "$2" /mnt/machine
        for file in vmlinux initrd version kernel; do ln -s "/mnt/machine/$file" /mnt/target/vmlab/; done
        chown -R 65534:65534 /mnt/target
        cd /mnt/clone
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all env CARGO_TARGET_DIR=/mnt/target \
            HOME=/nonexistent timeout --kill-after=10 300 scripts/vmlab run sh -c 'echo "$(id -u) $(uname -r)"; ls -1 /sys/class/net; exit 7'
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", script, "vmlab", CLONE]).arg(&machine);
    let ran = command.stdin(Stdio::null()).output().expect("unshare was found");
    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    let version = fs::read_to_string(machine.join("version")).expect("its kernel");
    // Root in the guest; taps are what needs a privilege, and are left out.
    assert_eq!(said.lines().collect::<Vec<_>>(), [&format!("0 {}", version.trim()), "eth0", "eth1", "lo"], "{said}");
}

/// A machine that is none runs a test that is none: how long the lab took is said, and too long is a failure.
#[test]
fn a_lab_that_takes_too_long_fails() {
    let qemu = "case \"$*\" in *help*) echo 'name \"igb\", bus PCI'; exit ;; esac
        out=$(printf '%s\\n' \"$@\" | sed -n 's/^file:\\(.*\\)\\/console$/\\1/p')
        echo ready >\"$out/ready\"; sleep 2
        bash \"$out/command\" >\"$out/output\" 2>&1; echo $? >\"$out/status\"";
    let stage = Stage::new("limit", &[("qemu-system-x86_64", qemu), ("modprobe", "exit 0"), ("unshare", "exit 1")]);
    let bin = stage.0.join("bin");
    let program = |name: &str, script: &str| {
        fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("its mode");
    };
    program("fake", "case \"$*\" in *--list*) echo 'slow: test'; echo 'quick: test' ;; esac; exit 0");
    let fake = bin.join("fake").display().to_string();
    program("cargo", &format!("echo '{{\"kind\":[\"test\"],\"name\":\"fake\",\"executable\":\"{fake}\"}}'"));
    let lab = stage.0.join("target/vmlab");
    fs::create_dir_all(lab.join("netdevsim")).expect("a folder");
    for (file, text) in [("version", "6.12.1-amd64\n"), ("initrd", "x"), ("accel", "tcg\n")] {
        fs::write(lab.join(file), text).expect("a file");
    }
    let module = lab.join("kernel/lib/modules/6.12.1-amd64/extra");
    fs::create_dir_all(&module).expect("a folder");
    fs::write(module.join("netdevsim.ko"), "x").expect("a file");
    let list = stage.0.join("list");
    fs::write(&list, "fake slow\nfake quick\n").expect("a list");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let target = stage.0.join("target").display().to_string();
    let list = list.display().to_string();
    let run = |limit: &str| {
        done(
            &["test", &list],
            &[("PATH", &path), ("CARGO_TARGET_DIR", &target), ("VMLAB_LIMIT", limit), ("HOME", &target)],
        )
    };
    let ran = run("600");
    let said = text(&ran.stdout);
    assert!(ran.status.success(), "{ran:?}");
    assert!(said.contains("2 of 2 tests passed") && said.contains("s of at most 10 min"), "{said}");
    let ran = run("1");
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    let said = text(&ran.stderr);
    assert!(said.contains("more than 1 s (VMLAB_LIMIT)") && said.contains("s  fake slow"), "{said}");
}

/// KVM is taken where a guest boots with it, and nothing else is asked: it may be there and run none.
#[test]
fn kvm_is_chosen_by_a_trial_boot() {
    for works in [true, false] {
        let qemu = "case \"$*\" in *help*) echo 'name \"igb\", bus PCI'; exit ;; esac
            accel=$(printf '%s\\n' \"$@\" | grep -A 1 -x -e -accel | tail -n 1)
            echo \"$accel\" >>\"$CARGO_TARGET_DIR/asked\"
            [ \"$accel\" != kvm ] || [ WORKS = true ] || exit 1
            out=$(printf '%s\\n' \"$@\" | sed -n 's/^file:\\(.*\\)\\/console$/\\1/p')
            echo ready >\"$out/ready\"
            bash \"$out/command\" >\"$out/output\" 2>&1; echo $? >\"$out/status\"; sleep 1";
        let qemu = qemu.replace("WORKS", &works.to_string());
        let stage = Stage::new(&format!("kvm-{works}"), &[("qemu-system-x86_64", &qemu), ("unshare", "exit 1")]);
        let lab = stage.0.join("target/vmlab");
        fs::create_dir_all(&lab).expect("a folder");
        for (file, text) in [("version", "6.12.1-amd64\n"), ("initrd", "x")] {
            fs::write(lab.join(file), text).expect("a file");
        }
        let ran = stage.run(&["run", "echo", "there"], &[("VMLAB_ACCEL", "")]);
        assert!(ran.status.success() && text(&ran.stdout).contains("there"), "{ran:?}");
        let asked = fs::read_to_string(stage.0.join("target/asked")).expect("what QEMU was asked for");
        let kvm = Command::new("test").args(["-w", "/dev/kvm"]).status().is_ok_and(|status| status.success());
        let expected: &[&str] = match (kvm, works) {
            (false, _) => &["tcg,thread=multi"],
            (true, true) => &["kvm", "kvm"],
            (true, false) => &["kvm", "tcg,thread=multi"],
        };
        assert_eq!(asked.lines().collect::<Vec<_>>(), expected);
        // The answer is kept, and what is asked for goes first.
        stage.run(&["run", "true"], &[("VMLAB_ACCEL", "")]);
        stage.run(&["run", "true"], &[("VMLAB_ACCEL", "tcg")]);
        let asked = fs::read_to_string(stage.0.join("target/asked")).expect("what QEMU was asked for");
        let last = expected.last().expect("one at least");
        assert_eq!(asked.lines().skip(expected.len()).collect::<Vec<_>>(), [last, "tcg,thread=multi"]);
    }
}

/// The command of the README and what lands run the lab with all that leaves its name for it, and count what it did not pass.
#[test]
fn the_lab_is_part_of_the_test_command() {
    let read = |name: &str| fs::read_to_string(Path::new(CLONE).join(name)).expect("it is in the repository");
    let script = read("scripts/test");
    for line in [
        "if scripts/vmlab fetch; then",
        "export NETBENCH_LAB_SKIPS",
        "scripts/vmlab test \"$(realpath \"$lab_list\")\" || status=1",
    ] {
        assert!(script.contains(line), "{line}");
    }
    assert!(read(".ci/run").contains("export NETBENCH_STRICT=1") && read(".ci/run").contains("exec scripts/test"));
    let readme = read("README.md");
    for line in ["$ scripts/test", "scripts/vmlab run", "vagrant up"] {
        assert!(readme.contains(line), "the README says when to use which: {line}");
    }
}

/// What `Vagrantfile` describes is the machine of `scripts/vmlab`: NICs, wire, kernel, IOMMU, and the tests that are run there.
#[test]
fn vagrant_describes_the_same_machine() {
    let read = |name: &str| fs::read_to_string(Path::new(CLONE).join(name)).expect("it is in the repository");
    let (script, vagrant) = (read("scripts/vmlab"), read("Vagrantfile"));
    // The number of NICs; one MAC each, by which the tests find them.
    let number = script.split("nics=${VMLAB_NICS:-").nth(1).and_then(|rest| rest.split('}').next()).expect("a default");
    assert!(vagrant.contains(&format!("{number}.times do |number|")), "{number} NICs");
    let mac = "mac=52:54:00:82:57:6";
    assert!(script.contains(&format!("{mac}$number")) && vagrant.contains(&format!("{mac}#{{number}}")));
    assert!(vagrant.contains("52:54:00:82:57:6*) basename"), "the tests are told of the same");
    // Of each line of QEMU's: the device without the names that only tie it to its neighbours.
    for argument in ["pcie-root-port,id=", "hubport,id=wire", "hubid=0", "igb,bus=", ",netdev=wire", "intel-iommu"] {
        assert!(script.contains(argument) && vagrant.contains(argument), "{argument}");
    }
    for word in ["q35", "intel_iommu=on iommu=pt", "linux-image-6.12-amd64", "linux-image-amd64", "igb", "igbvf"] {
        assert!(script.contains(word) && vagrant.contains(word), "{word}");
    }
    let at = |text: &str, word: &str| text.find(word).expect("it was there a moment ago");
    for text in [&script, &vagrant] {
        let (first, second) = (at(text, "linux-image-6.12-amd64"), at(text, "linux-image-amd64"));
        assert!(first < second, "the same kernel is preferred");
    }
    // The tests of these NICs run by the project's one command, which the page names too.
    assert!(vagrant.contains("`scripts/test`") && vagrant.contains("export NETBENCH_SRIOV=$nics"));
    let sriov = read("tests/sriov_nics/mod.rs");
    assert!(sriov.contains("NETBENCH_SRIOV"));
}
