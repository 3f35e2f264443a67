"""What works on this machine and what does not, each with what to do about it.

Every module looks at one thing and says what it found; `examine` asks all of them.
Nothing is changed, and everything ends in time, whatever hangs.
"""

from shoal.doctor.examine import examine
from shoal.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
