//! Which system calls a process may make: those for memory, threads, time and the sockets that it was given. It opens
//! nothing, connects to nothing, starts nothing, and signals nobody but itself.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

/// What may be called with any arguments.
const FREE: &[libc::c_long] = &[
    // The sockets, which are there already; more of them come over one of them.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    // Memory. The engine maps what modules begin with from a file that has no name.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_pwrite64,
    // Threads.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Traps of the engine are signals of the processor.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
];

/// Lets the whole process make no other calls from now on; others fail with `EPERM`.
pub(super) fn build() -> io::Result<()> {
    // The newer way to a thread has its arguments in memory, where no filter sees them. Who hears that it is not there uses
    // the older one. First, because behind the other filter none can be added.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(newer, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FREE.iter().map(|call| (*call, Vec::new())).collect();
    // A thread, and no process.
    rules.insert(libc::SYS_clone, vec![only(0, Is::MaskedEq(THREAD), THREAD)?]);
    // Names of threads.
    rules.insert(libc::SYS_prctl, vec![only(0, Is::Eq, libc::PR_SET_NAME as u64)?]);
    // Its own limits, to read them: no new ones.
    rules.insert(libc::SYS_prlimit64, vec![only(2, Is::Eq, 0)?]);
    // The end of itself.
    rules.insert(libc::SYS_tgkill, vec![only(0, Is::Eq, u64::from(std::process::id()))?]);
    apply(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

const THREAD: u64 = libc::CLONE_THREAD as u64;

fn only(argument: u8, is: Is, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, Length::Qword, is, value).map_err(io::Error::other)?;
    SeccompRule::new(vec![condition]).map_err(io::Error::other)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, others: SeccompAction, these: SeccompAction) -> io::Result<()> {
    let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, others, these, machine).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::process::Command;

    use super::*;

    #[test]
    fn behind_the_wall_there_are_memory_threads_and_time_and_nothing_else() {
        let test = "outside::wall::tests::what_is_tried_behind_the_wall";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args([test, "--exact", "--ignored", "--nocapture"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        assert!(String::from_utf8_lossy(&said).contains("1 passed"));
    }

    #[test]
    #[ignore = "takes rights from its whole process: the other test starts one for it"]
    fn what_is_tried_behind_the_wall() {
        let is_denied = |tried: Result<(), io::Error>| tried.unwrap_err().kind() == ErrorKind::PermissionDenied;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let parent = rustix::process::getppid().unwrap();
        build().unwrap();
        assert!(is_denied(std::fs::File::open("/proc/self/status").map(drop)));
        assert!(is_denied(std::fs::write("/tmp/behind-the-wall", "")));
        assert!(is_denied(std::fs::remove_file("/tmp/behind-the-wall")));
        assert!(is_denied(std::fs::read_dir("/").map(drop)));
        assert!(is_denied(TcpStream::connect(port).map(drop)));
        assert!(is_denied(UdpSocket::bind("127.0.0.1:0").map(drop)));
        assert!(is_denied(Command::new("/bin/true").spawn().map(drop)));
        assert!(rustix::process::test_kill_process(parent).is_err());
        let more = rustix::process::Rlimit { current: None, maximum: None };
        assert!(rustix::process::setrlimit(rustix::process::Resource::Core, more).is_err());
        let sum = std::thread::spawn(|| vec![1_u64; 1 << 22].iter().sum::<u64>()).join().unwrap();
        assert_eq!(sum, 1 << 22);
    }
}
