//! Threads, each with a runtime of its own.

use std::future::Future;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use tokio::runtime::LocalRuntime;

/// How a thread's runtime is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tasks polled between two looks at the network. Fewer: lower latency under load; more: fewer system calls.
    pub event_interval: u32,
    /// Threads for calls that block (name resolution, files), at most.
    pub blocking_threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { event_interval: 61, blocking_threads: 8 }
    }
}

/// Starts a thread that runs the future that `make` makes on it, to its end; tasks of [`crate::task`] live on that thread.
/// When the future ends, tasks that are left are dropped and the thread ends.
///
/// # Errors
/// If the system refuses the thread or the runtime.
pub fn spawn_local_runtime<F, Fut>(name: &str, make: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    spawn_with(name, Settings::default(), make)
}

/// As [`spawn_local_runtime`], with settings.
///
/// # Errors
/// If the system refuses the thread or the runtime.
pub fn spawn_with<F, Fut>(name: &str, settings: Settings, make: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    // The runtime cannot move between threads, so that it is built on the new one, which reports how that went.
    let (report, built) = sync_channel::<io::Result<()>>(1);
    let thread = Builder::new().name(name.to_owned()).spawn(move || match build(settings) {
        Ok(runtime) => {
            let _starter_waits = report.send(Ok(()));
            runtime.block_on(make());
            // A blocking call that hangs (a name server that does not answer) must not hold up the end.
            runtime.shutdown_background();
        }
        Err(error) => {
            let _starter_waits = report.send(Err(error));
        }
    })?;
    match built.recv() {
        Ok(result) => result.map(|()| thread),
        Err(_gone) => Err(io::Error::other("the thread ended before its runtime was built")),
    }
}

/// Runs a future to its end on this thread, in a runtime of its own.
///
/// # Errors
/// If the system refuses the runtime.
pub fn run_here<Fut: Future>(future: Fut) -> io::Result<Fut::Output> {
    let runtime = build(Settings::default())?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// Starts a plain thread, for work that blocks.
///
/// # Errors
/// If the system refuses the thread.
pub fn spawn_blocking_thread<F>(name: &str, work: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    Builder::new().name(name.to_owned()).spawn(work)
}

fn build(settings: Settings) -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(settings.event_interval.max(1))
        .max_blocking_threads(settings.blocking_threads.max(1))
        .build_local(Default::default())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::task::{Kind, spawn_local};

    #[test]
    fn a_thread_runs_its_future_and_its_tasks() {
        let (tell, told) = channel();
        let thread = spawn_local_runtime("test-local", move || async move {
            let shared = Rc::new(41);
            let held = Rc::clone(&shared);
            let tell_task = tell.clone();
            spawn_local(Kind::Control, async move {
                tell_task.send((std::thread::current().name().map(str::to_owned), *held + 1)).unwrap();
            })
            .await;
            drop(shared);
        })
        .unwrap();
        assert_eq!(told.recv().unwrap(), (Some("test-local".to_owned()), 42));
        thread.join().unwrap();
    }

    #[test]
    fn a_blocking_call_that_hangs_does_not_hold_up_the_end() {
        let started = std::time::Instant::now();
        spawn_local_runtime("test-end", || async {
            tokio::task::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_secs(20)));
            tokio::task::yield_now().await;
        })
        .unwrap()
        .join()
        .unwrap();
        assert!(started.elapsed() < std::time::Duration::from_secs(15));
    }

    #[test]
    fn a_future_runs_here() {
        assert_eq!(run_here(async { 7 }).unwrap(), 7);
    }
}
