"""Actors on anyio: typed messages, bounded mailboxes, supervision as data. Knows nothing of rollouts.

The files, lowest first; each imports only from what stands before it:
clock, status, turn, holding, ask, message, dead_letter, mailbox, handlers, ref, tree, request, batch, actor, child,
ending, plain_group, crew, desk, incarnation, cell, hosted, supervisor, subtree, testkit.seeded_loop, testkit.idle,
testkit.autojump, testkit.virtual_clock, testkit.dead_letter_box, testkit.left_running, testkit.probe, testkit.faults,
testkit.schedule, testkit.
"""

from __future__ import annotations

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.batch import Batch, Delivery
from lightning_actors.actors.child import Backoff, ChildSpec
from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.holding import Holding, Work
from lightning_actors.actors.hosted import hosted
from lightning_actors.actors.message import Message, Reply, defers, handles
from lightning_actors.actors.ref import ActorInfo, ActorRef, Held, Restart, current_actor
from lightning_actors.actors.request import Outcome, PendingRequest
from lightning_actors.actors.subtree import FindChild, SupervisorActor
from lightning_actors.actors.supervisor import Supervisor
from lightning_actors.actors.tree import ActorTree

__all__ = [
    "Actor",
    "ActorInfo",
    "ActorRef",
    "ActorTree",
    "Backoff",
    "Batch",
    "ChildSpec",
    "Clock",
    "DeadLetter",
    "Delivery",
    "FindChild",
    "Held",
    "Holding",
    "Message",
    "Outcome",
    "PendingRequest",
    "Reply",
    "Restart",
    "Supervisor",
    "SupervisorActor",
    "SystemClock",
    "Work",
    "current_actor",
    "defers",
    "handles",
    "hosted",
]
