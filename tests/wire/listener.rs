//! A listening socket that can be told to refuse connections, or to leave them without an answer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

type Accepted = Arc<dyn Fn(TcpStream) + Send + Sync>;

/// Listens on a port of its own on the loopback address until it is dropped.
pub struct Listener {
    address: SocketAddr,
    accepted: Accepted,
    state: Mutex<State>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

enum State {
    Accepting(Arc<TcpListener>, JoinHandle<()>),
    Paused(Arc<TcpListener>),
    /// The socket keeps the port, so that nobody else gets it, and does not listen.
    Refusing(TcpSocket),
    Changing,
}

impl Listener {
    /// Gives each accepted connection to the closure.
    pub async fn start(accepted: impl Fn(TcpStream) + Send + Sync + 'static) -> Listener {
        let listener = listen(bind("127.0.0.1:0".parse().unwrap()));
        let accepted: Accepted = Arc::new(accepted);
        let address = listener.local_addr().unwrap();
        Listener { address, state: Mutex::new(accepting(listener, &accepted)), accepted }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections, as it does from the start.
    pub async fn accept(&self) {
        let mut state = self.state.lock().await;
        *state = match std::mem::replace(&mut *state, State::Changing) {
            State::Paused(listener) => accepting(listener, &self.accepted),
            State::Refusing(socket) => {
                drop(socket);
                accepting(listen(bind(self.address)), &self.accepted)
            }
            other => other,
        };
    }

    /// Accepts no connection from now on. The operating system completes a few, which nobody answers.
    pub async fn pause(&self) {
        let mut state = self.state.lock().await;
        *state = match std::mem::replace(&mut *state, State::Changing) {
            State::Accepting(listener, task) => {
                stop(task).await;
                State::Paused(listener)
            }
            other => other,
        };
    }

    /// Refuses connections from now on; those that were accepted stay.
    pub async fn refuse(&self) {
        let mut state = self.state.lock().await;
        match std::mem::replace(&mut *state, State::Changing) {
            State::Accepting(listener, task) => {
                stop(task).await;
                drop(listener);
            }
            State::Paused(listener) => drop(listener),
            State::Refusing(socket) => drop(socket),
            State::Changing => unreachable!("the state is locked while it changes"),
        }
        *state = State::Refusing(bind(self.address));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let State::Accepting(_, task) = self.state.get_mut() {
            task.abort();
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // A port whose last connections are still being forgotten can be taken again. Windows means something else by it.
    #[cfg(unix)]
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn listen(socket: TcpSocket) -> Arc<TcpListener> {
    Arc::new(socket.listen(1024).unwrap())
}

fn accepting(listener: Arc<TcpListener>, accepted: &Accepted) -> State {
    let accepted = Arc::clone(accepted);
    let socket = Arc::clone(&listener);
    let task = tokio::spawn(async move {
        // An error concerns the one connection that was not accepted.
        loop {
            if let Ok((stream, _)) = socket.accept().await {
                stream.set_nodelay(true).unwrap();
                accepted(stream);
            }
        }
    });
    State::Accepting(listener, task)
}

async fn stop(task: JoinHandle<()>) {
    task.abort();
    let _ = task.await;
}
