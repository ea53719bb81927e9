//! Packets to everybody on the LAN, and from them.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A socket in the group, on some interfaces. Several programs of one host share the port, and each hears everything.
#[derive(Debug)]
pub(super) struct GroupSocket {
    socket: Socket,
    group: SocketAddrV4,
    joined: BTreeSet<Ipv4Addr>,
}

impl GroupSocket {
    pub(super) fn open(group: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_multicast_loop_v4(true)?;
        socket.set_multicast_ttl_v4(1)?;
        // Only what comes to the group's own interfaces: see `join`.
        socket.set_multicast_all_v4(false)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, group.port())))?;
        Ok(Self { socket, group, joined: BTreeSet::new() })
    }

    /// Another handle, to receive with.
    pub(super) fn receiver(&self) -> io::Result<UdpSocket> {
        Ok(self.socket.try_clone()?.into())
    }

    /// Hears what comes to these addresses of the host, and no more what comes to others. Those that cannot multicast are left out.
    pub(super) fn join(&mut self, addresses: &BTreeSet<Ipv4Addr>) {
        for gone in self.joined.difference(addresses) {
            // The address may be gone itself.
            let _ = self.socket.leave_multicast_v4(self.group.ip(), gone);
        }
        // Membership goes with an interface that goes down, so it is asked for again each time: who has it is told so.
        self.joined = addresses
            .iter()
            .filter(|address| match self.socket.join_multicast_v4(self.group.ip(), address) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::AddrInUse,
            })
            .copied()
            .collect();
    }

    /// Whether anybody can be heard.
    pub(super) fn is_joined(&self) -> bool {
        !self.joined.is_empty()
    }

    /// Says it on every interface, and to these.
    pub(super) fn say(&self, packet: &[u8], besides: &[IpAddr]) {
        for address in &self.joined {
            let said = self
                .socket
                .set_multicast_if_v4(address)
                .and_then(|()| self.socket.send_to(packet, &SockAddr::from(self.group)));
            if let Err(error) = said {
                tracing::debug!(%error, %address, "the lobby could not be told");
            }
        }
        for address in besides {
            let to = SocketAddr::new(*address, self.group.port());
            let _ = self.socket.send_to(packet, &SockAddr::from(to));
        }
    }
}
