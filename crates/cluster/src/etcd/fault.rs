//! What an error of etcd's client means for what was asked.

use std::error::Error as _;

use etcd_client::Error as ClientError;
use tonic::{Code, ConnectError, Status};

use crate::coordinator::Error;

/// Why a request had no result at one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was not done there and will not be; another member may do it.
    NotDone(String),
    /// Nobody knows.
    Lost(String),
    /// The revision is compacted.
    Compacted,
    /// The revision has not come.
    Future,
    /// No such lease.
    LeaseNotFound,
    /// Every member would answer this.
    Final(Error),
}

/// Messages of a member that has not done, and will not do, what it was asked for.
const NOT_DONE: &[&str] = &["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable"];

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::GRpcStatus(status) => Self::of_status(&status),
            // The client has no error of its own for it, only this text.
            ClientError::LeaseKeepAliveError(reason) if reason == "lease not found" => Self::LeaseNotFound,
            ClientError::InvalidArgs(_)
            | ClientError::InvalidUri(_)
            | ClientError::InvalidMetadataValue(_)
            | ClientError::EndpointError(_)
            | ClientError::TransportError(_) => Self::Final(Error::Invalid(error.to_string())),
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl Fault {
    fn of_status(status: &Status) -> Self {
        let message = status.message();
        match message {
            "etcdserver: mvcc: required revision has been compacted" => return Self::Compacted,
            "etcdserver: mvcc: required revision is a future revision" => return Self::Future,
            "etcdserver: requested lease not found" => return Self::LeaseNotFound,
            "etcdserver: mvcc: database space exceeded" => {
                return Self::Final(Error::Storage(
                    "etcd's database has reached its quota: compact and defragment it, then disarm its alarm (etcdctl \
                     alarm disarm)"
                        .to_owned(),
                ));
            }
            _ => {}
        }
        if NOT_DONE.contains(&message) || never_connected(status) {
            return Self::NotDone(message.to_owned());
        }
        // The client library answers with these codes, too, for reasons that do not tell what etcd has done. What etcd
        // itself says begins with its name.
        if message.starts_with("etcdserver: ") {
            match status.code() {
                Code::InvalidArgument
                | Code::OutOfRange
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::Unimplemented => return Self::Final(Error::Invalid(message.to_owned())),
                Code::DataLoss => return Self::Final(Error::Storage(message.to_owned())),
                _ => {}
            }
        }
        Self::Lost(format!("{} ({:?})", message, status.code()))
    }
}

/// Whether there was no connection to send it on.
fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: Status) -> Fault {
        Fault::from(ClientError::GRpcStatus(status))
    }

    #[test]
    fn a_change_that_may_have_been_made_is_never_called_undone() {
        for status in [
            Status::unavailable("etcdserver: request timed out"),
            Status::unavailable("etcdserver: request timed out, possibly due to previous leader failure"),
            Status::unavailable("etcdserver: server stopped"),
            Status::unknown("transport error"),
            // Made by the client when an answer is too long for it: the change is made.
            Status::out_of_range("Error, decoded message length too large"),
            Status::permission_denied("h2 protocol error"),
            Status::internal("raft proposal dropped"),
            Status::cancelled("Timeout expired"),
        ] {
            assert!(matches!(fault(status.clone()), Fault::Lost(_)), "{status:?}");
        }
    }

    #[test]
    fn what_etcd_refuses_is_told_apart() {
        assert!(matches!(fault(Status::unavailable("etcdserver: no leader")), Fault::NotDone(_)));
        assert_eq!(fault(Status::not_found("etcdserver: requested lease not found")), Fault::LeaseNotFound);
        let compacted = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        assert_eq!(fault(compacted), Fault::Compacted);
        let future = Status::out_of_range("etcdserver: mvcc: required revision is a future revision");
        assert_eq!(fault(future), Fault::Future);
        let twice = Status::invalid_argument("etcdserver: duplicate key given in txn request");
        assert!(matches!(fault(twice), Fault::Final(Error::Invalid(_))));
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert!(matches!(fault(full), Fault::Final(Error::Storage(_))));
        assert!(matches!(fault(Status::data_loss("etcdserver: corrupt cluster")), Fault::Final(Error::Storage(_))));
    }
}
