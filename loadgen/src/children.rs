//! The processes that this program has started, as the system knows them.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process_group};

/// Ends all children that lead a group of their own, and their groups. Children are asked of the system, so that none that
/// has ended meanwhile is taken for another that has its number now.
///
/// # Errors
/// When the system does not tell, as only Linux does.
pub(crate) fn kill_all() -> io::Result<()> {
    for child in all()? {
        // One that leads no group is a script that is asked something, and got the signal itself.
        let _ = kill_process_group(child, Signal::KILL);
    }
    Ok(())
}

/// The children of all threads.
fn all() -> io::Result<Vec<Pid>> {
    if !Path::new("/proc/thread-self/children").exists() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(text) => {
                let numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
                children.extend(numbers.filter_map(Pid::from_raw));
            }
            // The thread has ended, and its children are another's.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::broker::{kill, spawn};
    use std::process::Command;

    #[test]
    fn children_of_all_threads_are_known() {
        // Not killed all, for other tests have children too.
        let (mut here, there) = (
            spawn(Command::new("sleep").arg("600")).unwrap(),
            std::thread::spawn(|| spawn(Command::new("sleep").arg("600")).unwrap()),
        );
        let mut there = there.join().unwrap();
        let known = all().unwrap();
        for child in [&mut here, &mut there] {
            let number = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
            assert!(known.contains(&number), "{number:?} in {known:?}");
            kill(child);
            assert!(!all().unwrap().contains(&number));
        }
    }
}
