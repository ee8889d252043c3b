"""What the board says of itself is read as the kernel of a Raspberry Pi, or of another machine, writes it."""

from __future__ import annotations

import json
import pathlib

import pytest

from edge.board import board_facts, output_of

PI = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nprocessor\t: 1\nCPU part\t: 0xd0b\n"
    "\nRevision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
    "proc/meminfo": "MemTotal:        4147760 kB\nMemFree:          290000 kB\nMemAvailable:    3145728 kB\n",
    "proc/sys/kernel/osrelease": "6.12.25+rpt-rpi-2712\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "sys/class/thermal/thermal_zone0/type": "gpu\n",
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "61850\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
}


def tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return root


def test_a_raspberry_pi_is_read_in_full(tmp_path: pathlib.Path):
    facts = board_facts(tree(tmp_path, PI))
    assert (facts.model, facts.cpu, facts.cores) == ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", 4)
    assert (facts.governor, facts.frequency_mhz, facts.most_frequency_mhz) == ("ondemand", 1500.0, 2400.0)
    assert facts.temperature_c == 61.85
    assert facts.memory_mib == pytest.approx(4050.5, abs=0.1) and facts.available_mib == 3072.0
    assert (facts.os, facts.kernel) == ("Debian GNU/Linux 12 (bookworm)", "6.12.25+rpt-rpi-2712")
    assert facts.throttled == 0x50005
    assert facts.throttling == ("under-voltage now", "throttled now", "under-voltage since boot", "throttled since boot")
    assert facts.packages["numpy"]


def test_throttling_is_asked_of_the_firmware_where_no_file_says_it(tmp_path: pathlib.Path):
    files = {name: content for name, content in PI.items() if "firmware" not in name}
    asked = []

    def run(*command: str) -> str:
        asked.append(command)
        return "throttled=0x80008"

    facts = board_facts(tree(tmp_path, files), run=run)
    assert asked == [("vcgencmd", "get_throttled")]
    assert facts.throttling == ("at the soft temperature limit now", "at the soft temperature limit since boot")


def test_another_machine_has_what_it_has(tmp_path: pathlib.Path):
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 5 3600\ncpu MHz\t\t: 3600\n",
        "sys/class/dmi/id/sys_vendor": "ASUS\n",
        "sys/class/dmi/id/product_name": "PRIME\n",
        "sys/devices/system/cpu/online": "0,2-3\n",
    }
    facts = board_facts(tree(tmp_path, files))
    assert (facts.model, facts.cpu, facts.cores) == ("ASUS PRIME", "AMD Ryzen 5 3600", 3)
    assert facts.throttled is facts.throttling is facts.temperature_c is facts.frequency_mhz is facts.memory_mib is None
    assert facts.governor == facts.os == ""


def test_nothing_at_all_is_no_error(tmp_path: pathlib.Path):
    facts = board_facts(tmp_path)
    assert facts.model == "" and facts.cores >= 1 and facts.throttling is None


def test_the_record_is_json(tmp_path: pathlib.Path):
    record = json.loads(json.dumps(board_facts(tree(tmp_path, PI)).as_record()))
    assert record["throttling"][0] == "under-voltage now" and record["cores"] == 4 and "numpy" in record["packages"]


def test_this_machine_says_something():
    facts = board_facts()
    assert facts.cores >= 1 and facts.kernel and facts.memory_mib > 0


def test_a_program_that_is_missing_or_fails_says_nothing():
    assert output_of("no-such-program-here") == "" and output_of("false") == "" and output_of("echo", "word") == "word"
