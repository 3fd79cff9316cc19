//! Threads that enter network namespaces.
//!
//! They take one job after another, never go back to where they came from, and end when there is nothing more to do: an
//! idle thread would keep the last namespace, and its devices, alive. So these are none of the runtime's own threads.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// So many namespaces are worked in at once. The work is mostly the kernel's; whatever deletes rules waits there for an
/// RCU grace period.
const MOST: usize = 8;

/// It is called on a thread that may enter namespaces; or where it was submitted, with the reason why there is none.
type Job = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The threads, and what they are to do.
#[derive(Clone, Default)]
pub struct Workers {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
}

impl Workers {
    /// Has the job done, soon; or has it report at once that no thread can be started.
    pub fn submit(&self, job: impl FnOnce(io::Result<()>) + Send + 'static) {
        let mut queue = self.lock();
        queue.jobs.push_back(Box::new(job));
        if queue.threads == MOST {
            return;
        }
        let workers = self.clone();
        match thread::Builder::new().name("netns".to_owned()).spawn(move || workers.run()) {
            Ok(_) => queue.threads += 1,
            // Those that exist do it, too.
            Err(_) if queue.threads > 0 => {}
            Err(error) => {
                let job = queue.jobs.pop_back();
                drop(queue);
                if let Some(job) = job {
                    job(Err(error));
                }
            }
        }
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            job(Ok(()));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        let job = queue.jobs.pop_front();
        if job.is_none() {
            queue.threads -= 1;
        }
        job
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn all_jobs_are_done_and_all_threads_end() {
        let workers = Workers::default();
        let (sender, done) = mpsc::channel();
        for number in 0..1000 {
            let sender = sender.clone();
            workers.submit(move |thread| {
                thread.unwrap();
                sender.send(number).unwrap();
            });
            assert!(workers.lock().threads <= MOST);
        }
        let mut numbers: Vec<_> = done.iter().take(1000).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        let begun = Instant::now();
        while workers.lock().threads > 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} threads stay", workers.lock().threads);
            thread::sleep(Duration::from_millis(1));
        }
    }
}
