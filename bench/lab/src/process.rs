//! The processes that this program starts: how they are started and ended.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::proc;

/// Variables that make Rust programs, which the runtimes are, keep backtraces of errors.
const DIAGNOSTICS: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];

/// Starts a process that does not get the terminal's signals: on Ctrl-C this program stops its children itself, and
/// does not report their end as a fault. The process leads a group of its own. Variables for debugging are removed from
/// its environment, because they make programs slower.
///
/// # Errors
/// The system's own.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    for variable in DIAGNOSTICS {
        command.env_remove(variable);
    }
    command.process_group(0).spawn()
}

/// Kills a child and waits for its end.
pub fn kill(child: &mut Child) {
    // An error means that it has ended already.
    drop(child.kill());
    drop(child.wait());
}

/// Ends a child that [`spawn`] started, and all that it has started itself and left in its group.
pub fn kill_group(child: &mut Child) {
    // Once it has been waited for, its number may be another group's.
    if let (Ok(None), Some(group)) = (child.try_wait(), pid_of(child.id())) {
        // An error means that all of it has ended already.
        let _ = kill_process_group(group, Signal::KILL);
    }
    kill(child);
}

/// Ends all children that lead a group of their own, and their groups. Children are asked of the system, so that none that
/// has ended meanwhile is taken for another that has its number now.
///
/// # Errors
/// When the system does not tell, as only Linux does.
pub(crate) fn kill_all() -> io::Result<()> {
    for child in children()? {
        // One that leads no group is a script that is asked something, and got the signal itself.
        let _ = kill_process_group(child, Signal::KILL);
    }
    Ok(())
}

/// The children of all threads.
fn children() -> io::Result<Vec<Pid>> {
    Ok(proc::children()?.into_iter().filter_map(pid_of).collect())
}

fn pid_of(process: u32) -> Option<Pid> {
    Pid::from_raw(process.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn children_of_all_threads_are_known() {
        // Not killed all, for other tests have children too.
        let (mut here, there) = (
            spawn(Command::new("sleep").arg("600")).unwrap(),
            std::thread::spawn(|| spawn(Command::new("sleep").arg("600")).unwrap()),
        );
        let mut there = there.join().unwrap();
        let known = children().unwrap();
        for child in [&mut here, &mut there] {
            let number = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
            assert!(known.contains(&number), "{number:?} in {known:?}");
            kill(child);
            assert!(!children().unwrap().contains(&number));
        }
    }

    #[test]
    fn a_killed_process_is_reaped() {
        let mut child = spawn(Command::new("sleep").arg("600")).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        kill(&mut child);
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn what_is_started_keeps_no_backtraces() {
        let mut command = Command::new("sh");
        command.args(["-c", r#"test -z "$RUST_BACKTRACE$RUST_LIB_BACKTRACE""#]);
        for variable in DIAGNOSTICS {
            command.env(variable, "1");
        }
        assert!(spawn(&mut command).unwrap().wait().unwrap().success());
    }
}
