"""One file comes whole and right, or not at all, from a server that does what servers do. The server is real; only its manners are made up."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.remote import transfer
from tasks.remote.transfer import Remote, RemoteFile, RetryPolicy, StatusRefused, Stopped, Unavailable, Unreachable, state_of
from tests.faulty import Fault, Server, serving
from tests.waiting import PATIENCE, until

RULES = RetryPolicy(retries=3, backoff=0.01, silence=PATIENCE)  # silence is the server's doing, not the machine's
HASTY = RetryPolicy(
    retries=3, backoff=0.01, silence=2.0
)  # where the server falls silent; nothing on this machine takes as long to reach another thread
BODY = random.Random(1).randbytes(500_000)
OTHER = random.Random(2).randbytes(400_000)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


def get(file: RemoteFile | str, part: Path, rules: RetryPolicy = RULES, log: list[str] | None = None) -> bytes:
    """Fetch in one go, as a new process would: the partial file is all that is known of earlier attempts."""
    file = RemoteFile("file.bin", file) if isinstance(file, str) else file
    with Remote(rules, (log if log is not None else []).append) as remote:
        got = remote.fetch(file, part)
    body = part.read_bytes()
    assert got["size"] == len(body) and got["sha256"] == hashlib.sha256(body).hexdigest()
    return body


def sha1(body: bytes) -> str:
    return f"sha1:{hashlib.sha1(body).hexdigest()}"


def test_a_file_comes_in_one_request_from_a_client_that_says_who_it_is(server, part):
    assert get(server.put("/file.bin", BODY), part) == BODY
    [seen] = server.seen
    assert seen.headers["user-agent"].startswith("Hanlin/") and seen.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("body", [b"", b"x"])
def test_small_files(server, part, body):
    assert get(server.put("/file.bin", body), part) == body


def test_a_broken_connection_costs_only_the_rest(server, part):
    url = server.put("/file.bin", BODY, Fault(after=200_000), Fault(after=100_000))
    assert get(url, part) == BODY
    assert server.sent() == len(BODY)
    ranges = [(seen.headers.get("range"), seen.headers.get("if-range")) for seen in server.seen]
    assert ranges[0] == (None, None) and ranges[1][0] == "bytes=200000-" and ranges[1][1] == server.files["/file.bin"].tag


def test_a_stalled_connection_is_given_up_and_gone_on_with(server, part):
    log: list[str] = []
    assert get(server.put("/file.bin", BODY, Fault(after=200_000, stall=PATIENCE)), part, HASTY, log) == BODY
    assert server.sent() == len(BODY) and any("stalled" in line for line in log)


def test_a_trickle_counts_as_a_stall(server, part):
    log: list[str] = []
    assert get(server.put("/file.bin", BODY, Fault(drip=0.02, after=500)), part, HASTY, log) == BODY
    assert any("stalled: " in line and "bytes in" in line for line in log)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_status_is_tried_again(server, part, status):
    assert get(server.put("/file.bin", BODY, Fault(status=status), Fault(status=status)), part) == BODY


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_waited_for(server, part, status, dated):
    until = int(time.time()) + 2
    get(
        server.put(
            "/file.bin", BODY, Fault(status=status, retry_after=email.utils.formatdate(until, usegmt=True) if dated else "1")
        ),
        part,
    )
    first, second = server.seen
    assert second.at + time.time() - time.monotonic() >= until - 0.1 if dated else second.at - first.at >= 1.0


def test_a_server_that_asks_for_too_long_a_wait_is_left_alone(server, part):
    with pytest.raises(Unavailable, match="asks to come back in 60 min"):
        get(server.put("/file.bin", BODY, Fault(status=429, retry_after="3600")), part)
    assert len(server.seen) == 1


def test_one_connection_that_is_told_to_wait_holds_the_others(server, tmp_path):
    slow, other = server.put("/slow", BODY, Fault(status=429, retry_after="1")), server.put("/other", BODY)
    with Remote(RULES) as remote:
        thread = threading.Thread(target=remote.fetch, args=(RemoteFile("slow", slow), tmp_path / "slow"))
        thread.start()
        until(lambda: remote._not_before)  # the first one has heard
        remote.fetch(RemoteFile("other", other), tmp_path / "other")
        thread.join()
    assert server.gets("/other")[0].at - server.gets("/slow")[0].at >= 1.0


def test_waits_grow(server, part):
    waits: list[str] = []
    with pytest.raises(Unavailable, match="gave up after 5 attempts"):
        get(server.put("/file.bin", BODY, *[Fault(status=500)] * 9), part, RetryPolicy(retries=4, backoff=0.04), waits)
    seconds = [later.at - earlier.at for earlier, later in zip(server.seen, server.seen[1:], strict=False)]
    assert len(seconds) == 4 and all(wait >= 0.04 * 2**n / 2 for n, wait in enumerate(seconds))


def test_failures_that_bring_something_are_not_counted(server, part):
    url = server.put("/file.bin", BODY, *[Fault(after=70_000)] * 7)
    assert get(url, part, RetryPolicy(retries=1, backoff=0.01)) == BODY
    assert server.sent() == len(BODY)


@pytest.mark.parametrize(("stall", "attempts"), [(0, 4), (PATIENCE, 2)])
def test_a_server_that_breaks_off_at_the_same_place_forever_is_given_up(server, part, stall, attempts):
    url = server.put("/file.bin", BODY, *[Fault(after=200_000, stall=stall, ignore_range=True)] * 50)
    with pytest.raises(Unavailable, match=rf"gave up after {attempts} attempts; 200,000 bytes are kept"):
        get(url, part, replace(HASTY, retries=attempts - 1))
    assert part.stat().st_size == 200_000


def test_a_file_that_changes_between_ranges_starts_again(server, part):
    log: list[str] = []
    url = server.put("/file.bin", BODY, Fault(after=200_000), Fault(new=OTHER))
    assert get(url, part, log=log) == OTHER
    assert any("starts it again" in line for line in log)


def test_a_server_that_answers_if_range_with_another_file_is_found_out(server, part):
    url = server.put("/file.bin", BODY, Fault(after=200_000), Fault(new=OTHER, any_range=True))
    assert get(url, part) == OTHER


def test_an_etag_that_changes_every_time_ends(server, part):
    faults = [Fault(new=random.Random(n).randbytes(300_000), after=100_000) for n in range(30)]
    with pytest.raises(Unavailable, match="gave up"):
        get(server.put("/file.bin", BODY, *faults), part)


def test_a_server_without_ranges_starts_again(server, part):
    assert get(server.put("/file.bin", BODY, Fault(after=200_000), Fault(ignore_range=True)), part) == BODY
    assert server.sent() == len(BODY) + 200_000


@pytest.mark.parametrize("about", [{"etag": None}, {"etag": 'W/"weak"'}])
def test_without_a_strong_validator_nothing_is_pieced_together_unless_a_checksum_will_tell(server, part, about):
    url = server.put("/file.bin", BODY, Fault(after=200_000), **about)
    assert get(url, part) == BODY
    assert server.sent() == len(BODY) + 200_000
    url = server.put("/sure.bin", BODY, Fault(after=200_000), **about)
    assert get(RemoteFile("sure.bin", url, checksum=sha1(BODY)), part.with_name("sure")) == BODY
    assert server.sent("/sure.bin") == len(BODY)


def test_a_date_will_do_where_there_is_no_etag(server, part):
    url = server.put("/file.bin", BODY, Fault(after=200_000), etag=None, modified="Sun, 01 Nov 2026 08:00:00 GMT")
    assert get(url, part) == BODY
    assert server.sent() == len(BODY)


def test_without_a_length_the_checksum_tells_whether_it_is_whole(server, part):
    url = server.put("/file.bin", BODY, Fault(after=300_000), sized=False)
    assert get(RemoteFile("file.bin", url, checksum=sha1(BODY)), part) == BODY
    assert get(server.put("/plain.bin", BODY, sized=False), part.with_name("plain")) == BODY


@pytest.mark.parametrize("length", [1000, -1000])
def test_a_wrong_length_is_not_believed(server, part, length):
    url = server.put("/file.bin", BODY, Fault(length=length))
    assert get(RemoteFile("file.bin", url, size=len(BODY), checksum=sha1(BODY)), part) == BODY


def test_a_length_that_is_not_what_upstream_lists_is_refused(server, part):
    url = server.put("/file.bin", BODY)
    with pytest.raises(Unavailable, match=r"announces 500,000 bytes where upstream lists 500,001"):
        get(RemoteFile("file.bin", url, size=len(BODY) + 1), part)


def test_a_length_announced_too_long_without_any_listing(server, part):
    assert get(server.put("/file.bin", BODY, Fault(length=1000)), part) == BODY


def test_a_spoiled_transfer_is_done_again(server, part):
    log: list[str] = []
    assert (
        get(RemoteFile("file.bin", server.put("/file.bin", BODY, Fault(flip=True)), checksum=sha1(BODY)), part, log=log) == BODY
    )
    assert any("was expected; starting again" in line for line in log)


def test_a_wrong_checksum_is_an_error_that_names_both(server, part):
    url = server.put("/file.bin", BODY)
    with pytest.raises(Unavailable) as told:
        get(RemoteFile("file.bin", url, checksum=sha1(OTHER)), part)
    assert sha1(OTHER) in str(told.value) and sha1(BODY) in str(told.value) and url in str(told.value)
    assert not part.exists()


@pytest.mark.parametrize("name", ["sha1", "sha256", "md5", "git"])
def test_checksums_of_all_upstreams(server, part, name):
    digest = hashlib.sha1(b"blob 500000\0" + BODY) if name == "git" else hashlib.new(name, BODY)
    assert get(RemoteFile("file.bin", server.put("/file.bin", BODY), checksum=f"{name}:{digest.hexdigest()}"), part) == BODY


@pytest.mark.parametrize(("status", "says"), [(404, "check the name"), (410, "taken away"), (401, "HF_TOKEN"), (403, "HF_TOKEN")])
def test_what_will_not_pass_is_not_tried_again(server, part, status, says):
    with pytest.raises(StatusRefused, match=says):
        get(server.put("/file.bin", BODY, Fault(status=status)), part)
    assert len(server.seen) == 1


def test_a_web_page_is_not_a_file(server, part):
    with pytest.raises(Unavailable, match="gives a web page, not a file"):
        get(server.put("/file.bin", BODY, Fault(page=True)), part)


def test_redirects_are_followed_and_resumed_through(server, part):
    server.put("/cdn", BODY, Fault(after=200_000))
    url = server.put("/file.bin", b"", *[Fault(redirect="/cdn")] * 5)
    assert get(url, part) == BODY
    assert server.sent() == len(BODY)


def test_a_circle_of_redirects_ends(server, part):
    url = server.put("/file.bin", b"", *[Fault(redirect="/file.bin")] * 50)
    with pytest.raises(Unavailable, match="redirects"):
        get(url, part)


def test_a_server_that_disappears_is_named_and_what_came_is_kept(server, part):
    url = server.put("/file.bin", BODY, Fault(after=200_000, stall=PATIENCE))

    def disappear() -> None:
        until(lambda: part.exists() and part.stat().st_size == 200_000)
        server.close()

    threading.Thread(target=disappear).start()
    with pytest.raises(
        Unreachable,
        match=r"no connection .* gave up after 4 attempts; 200,000 bytes are kept, and the next run goes on from there",
    ):
        get(url, part, RetryPolicy(retries=3, backoff=0.05, silence=PATIENCE))
    assert part.read_bytes() == BODY[:200_000]


def test_another_process_goes_on_where_the_first_was(server, part):
    url = server.put("/file.bin", BODY, Fault(after=200_000))
    with pytest.raises(Unavailable):
        get(url, part, RetryPolicy(retries=0))
    assert get(url, part) == BODY
    assert server.sent() == len(BODY)


def test_another_process_starts_again_where_the_file_changed(server, part):
    url = server.put("/file.bin", BODY, Fault(after=200_000))
    with pytest.raises(Unavailable):
        get(url, part, RetryPolicy(retries=0))
    server.files["/file.bin"].body = OTHER
    assert get(url, part) == OTHER


def test_a_mirror_goes_on_with_what_another_sent_where_a_checksum_will_tell(server, part):
    with pytest.raises(Unavailable):
        get(RemoteFile("f", server.put("/here/f", BODY, Fault(after=200_000)), checksum=sha1(BODY)), part, RetryPolicy(retries=0))
    assert get(RemoteFile("f", server.put("/there/f", BODY, etag='"its-own"'), checksum=sha1(BODY)), part) == BODY
    assert server.sent("/there/f") == len(BODY) - 200_000


def test_a_partial_file_without_its_note_is_not_trusted(server, part):
    part.write_bytes(OTHER[:1000])
    assert get(server.put("/file.bin", BODY), part) == BODY
    part.write_bytes(BODY + b"more")
    assert get(RemoteFile("f", server.url + "/file.bin", size=len(BODY), checksum=sha1(BODY)), part) == BODY


def test_a_whole_partial_file_costs_no_request(server, part):
    url = server.put("/file.bin", BODY)
    get(url, part)
    server.seen.clear()
    assert get(url, part) == BODY and not server.seen


def test_a_full_disk_is_the_disks_error_and_not_tried_again(server):
    """/dev/full takes no byte. It stands in for the partial file's place; nothing else is changed."""
    url = server.put("/file.bin", BODY)
    with Remote(RULES) as remote, remote._answer("GET", url, {}) as response, pytest.raises(OSError) as told:
        remote._receive(response, Path("/dev/full"), 0, len(BODY), lambda have, total: None)
    assert told.value.errno == errno.ENOSPC


def test_stopping_ends_a_transfer_and_a_wait(server, part):
    log: list[str] = []
    with Remote(RetryPolicy(retries=5, backoff=PATIENCE, silence=PATIENCE), log.append) as remote:

        def stop() -> None:
            until(lambda: log)  # it has begun to wait
            remote.stop.set()

        threading.Thread(target=stop).start()
        with pytest.raises(Stopped):
            remote.fetch(RemoteFile("f", server.put("/f", BODY, Fault(status=500))), part)
    with Remote(RULES) as remote, pytest.raises(Stopped):
        url = server.put("/g", BODY, Fault(after=200_000, stall=PATIENCE))
        remote.fetch(RemoteFile("g", url), part.with_name("g"), at=lambda have, total: remote.stop.set())


def test_a_state_without_bytes(server):
    plain, no_head = server.put("/plain", BODY), server.put("/no-head", BODY, head=405)
    dated, bare = (
        server.put("/dated", BODY, etag=None, modified="Sun, 01 Nov 2026 08:00:00 GMT"),
        server.put("/bare", BODY, etag=None),
    )
    with Remote(RULES) as remote:
        assert remote.state(plain) == f"etag {server.files['/plain'].tag}" == remote.state(no_head).replace("no-head", "plain")
        assert remote.state(dated) == "modified Sun, 01 Nov 2026 08:00:00 GMT size 500000"
        assert remote.state(bare) == "size 500000"
        with pytest.raises(StatusRefused, match="404"):
            remote.state(server.url + "/nowhere")


def test_a_weak_etag_is_the_same_state_as_the_strong_one():
    assert state_of({"etag": 'W/"x"'}) == state_of({"etag": '"x"'})


def test_no_network_is_said():
    with pytest.raises(Unreachable, match="no connection"), Remote(RetryPolicy(retries=1, backoff=0.01, connect=0.5)) as remote:
        remote.text("http://127.0.0.1:9/zhwiki/")


ANY = st.one_of(
    st.builds(Fault, after=st.integers(0, 60_000)),
    st.builds(Fault, status=st.sampled_from([429, 500, 503])),
    st.builds(Fault, after=st.integers(0, 60_000), ignore_range=st.just(True)),
    st.builds(Fault, length=st.integers(-50, 50)),
    st.builds(Fault, flip=st.just(True)),
    st.builds(Fault, redirect=st.just("/file.bin")),
    st.builds(Fault, any_range=st.just(True), after=st.integers(0, 60_000)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(faults=st.lists(ANY, max_size=6), seed=st.integers(0, 3), etag=st.sampled_from(["", None, 'W/"w"']))
def test_whatever_goes_wrong_the_bytes_are_right_or_there_is_an_error(tmp_path_factory, faults, seed, etag):
    body = random.Random(seed).randbytes(50_000)
    part = tmp_path_factory.mktemp("fuzz") / "part"
    with serving() as server:
        file = RemoteFile("file.bin", server.put("/file.bin", body, *faults, etag=etag), size=len(body), checksum=sha1(body))
        try:
            assert get(file, part, RetryPolicy(retries=3, backoff=0.001, silence=PATIENCE)) == body
        except Unavailable as error:
            assert server.url in str(error)
        assert (
            get(file, part, RetryPolicy(retries=20, backoff=0.001, silence=PATIENCE)) == body
            if not server.files["/file.bin"].faults
            else True
        )


def test_the_parser_of_retry_after():
    assert transfer._retry_after("7") == 7.0 and transfer._retry_after("soon") is None and transfer._retry_after(None) is None
    assert transfer._retry_after(email.utils.formatdate(time.time() - 100, usegmt=True)) == 0.0
