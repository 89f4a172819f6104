"""The figures of measuring tools, read from what the tools really print."""

from __future__ import annotations

import pytest

from twinhull.compare import load, tools

SYSBENCH_CPU = """\
sysbench 1.0.20 (using system LuaJIT 2.1.0-beta3)

CPU speed:
    events per second:  4350.83

General statistics:
    total time:                          1.0001s
    total number of events:              4358
"""
SYSBENCH_MEMORY = """\
Total operations: 16431 (16385.64 per second)

16431.00 MiB transferred (16385.64 MiB/sec)


General statistics:
    total time:                          1.0007s
    total number of events:              16431
"""
SYSBENCH_THREADS = """\
General statistics:
    total time:                          1.0008s
    total number of events:              18729

Latency (ms):
         min:                                    0.03
"""
SOCKPERF = """\
sockperf: ========= Printing statistics for Server No: 0
sockperf: [Valid Duration] RunTime=0.055 sec; SentMessages=5246; ReceivedMessages=5246
sockperf: \033[2;35m====> avg-latency=5.193 (std-dev=8.930)\033[0m
sockperf: Summary: Latency is 5.193 usec
sockperf: ---> percentile 50.000 =    4.917
"""
FIO = """\
note: both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1
{
  "fio version" : "fio-3.33",
  "jobs" : [
    {
      "jobname" : "load",
      "read" : {
        "io_bytes" : 104140800,
        "bw_bytes" : 104036763,
        "bw" : 101598,
        "iops" : 25399.600400
      },
      "write" : {
        "bw_bytes" : 0,
        "iops" : 0.000000
      }
    }
  ]
}
"""
IPERF3 = """\
{
	"start":	{ "version":	"iperf 3.12" },
	"end":	{
		"sum_sent":	{ "seconds":	1.000128, "bits_per_second":	24921461572.918671 },
		"sum_received":	{ "seconds":	1.001731, "bytes":	3115319296, "bits_per_second":	24879487974.31646 }
	}
}
"""
LOADER = """\
	linux-vdso.so.1 (0x00007f946193e000)
	libm.so.6 => /tree/lib/x86_64-linux-gnu/libm.so.6 (0x00007f946184c000)
	libceph-common.so.2 => not found
	/lib64/ld-linux-x86-64.so.2 => /tree/lib64/loader (0x00007f9461940000)
"""


def named(name: str) -> load.Load:
    return next(one for one in load.LOADS if one.name == name)


@pytest.mark.parametrize(
    ("name", "text", "figure"),
    [
        ("cpu", SYSBENCH_CPU, 4350.83),
        ("memory", SYSBENCH_MEMORY, 16385.64),
        ("syscalls", SYSBENCH_THREADS, 18729 * 100 / 1.0008),
        ("latency", SOCKPERF, 2 * 5.193),
        ("read", FIO, 104036763),
        ("random_read", FIO, 25399.6004),
        ("throughput", IPERF3, 24879487974.31646),
    ],
)
def test_the_figure_is_the_one_that_the_tool_prints(name: str, text: str, figure: float) -> None:
    assert named(name).read(text) == pytest.approx(figure)


@pytest.mark.parametrize("one", load.LOADS, ids=lambda one: one.name)
@pytest.mark.parametrize("text", ["", "{}", "connect failed: Connection refused", '{"jobs": []}'])
def test_output_without_a_figure_is_an_error_and_no_figure(one: load.Load, text: str) -> None:
    with pytest.raises((ValueError, KeyError, IndexError)):
        one.read(text)


def test_a_ratio_is_to_the_plain_process() -> None:
    samples = {"plain.load_cpu": [100.0, 101.0, 99.0], "vm.load_cpu": [25.0, 25.2, 24.8]}
    row = load.row(named("cpu"), samples, {"container.load_cpu": "ended at once"})

    assert row["subjects"]["vm"]["ratio"] == pytest.approx(0.25)
    assert row["subjects"]["vm"]["ratio_low"] <= 0.25 <= row["subjects"]["vm"]["ratio_high"]
    assert "ratio" not in row["subjects"]["plain"]
    assert "container" not in row["subjects"]
    assert row["gap"] == "container: ended at once"


def ratio(value: float, low: float, high: float) -> dict[str, float]:
    return {"ratio": value, "ratio_low": low, "ratio_high": high}


def test_the_phrase_says_speed_whichever_way_a_figure_goes() -> None:
    rows = [
        {"name": "cpu", "higher_is_better": True, "subjects": {"vm": ratio(0.25, 0.2, 0.5)}},
        {"name": "latency", "higher_is_better": False, "subjects": {"vm": ratio(4.0, 2.0, 5.0)}},
        {"name": "random_read", "higher_is_better": True, "subjects": {"vm": ratio(1.4, 0.6, 1.8)}},
        {"name": "fsync", "higher_is_better": False, "subjects": {"vm": ratio(0.8, 0.5, 2.0)}},
    ]
    assert load.told(rows, "vm") == (
        "speed, of a plain process: cpu 0.25 [0.2, 0.5], latency 0.25 [0.2, 0.5]; "
        "no difference from a plain process shown: random read, fsync"
    )
    assert load.told(rows, "container") == load.told([], "vm") == ""


def test_every_tool_is_one_of_the_root() -> None:
    assert {one.argv[0] for one in load.LOADS} == set(tools.TOOLS)


def test_the_libraries_that_a_loader_finds_and_misses() -> None:
    assert tools.found_libraries(LOADER) == {
        "libm.so.6": "/tree/lib/x86_64-linux-gnu/libm.so.6",
        "libceph-common.so.2": "",
        "ld-linux-x86-64.so.2": "/tree/lib64/loader",
    }


def test_a_tool_runs_by_the_loader_of_its_root() -> None:
    assert tools.command("/r", ("fio", "--version")) == (
        "/r/lib/loader",
        "--library-path",
        "/r/lib",
        "/r/bin/fio",
        "--version",
    )
    assert tools.command("", ("fio",))[0] == "/lib/loader"
