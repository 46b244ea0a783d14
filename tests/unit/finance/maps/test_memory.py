import torch

from shoestring.finance.maps._memory import SharedMemory


def filled(size: int, adds: list[int]) -> SharedMemory:
    memory = SharedMemory(size, 2)
    for number in adds:
        place = torch.arange(memory.added, memory.added + number)
        action = torch.stack([place % 3, (place + 1) % 3])
        memory.add(place, action, torch.stack([place * 1.0, -place * 1.0]))
    return memory


def test_every_agent_gets_its_own_actions_and_rewards_of_the_same_states() -> None:
    place, action, reward = filled(50, [30]).draw(64, torch.Generator().manual_seed(0))
    assert torch.equal(action, torch.stack([place % 3, (place + 1) % 3]))
    assert torch.equal(reward, torch.stack([place * 1.0, -place * 1.0]))


def test_only_what_was_added_is_drawn() -> None:
    place, _, _ = filled(50, [5]).draw(200, torch.Generator().manual_seed(0))
    assert set(place.tolist()) == set(range(5))


def test_the_oldest_transitions_give_way() -> None:
    memory = filled(10, [4, 4, 4, 1])
    assert len(memory) == 10
    assert sorted(memory.place.tolist()) == list(range(3, 13))


def test_a_memory_can_be_put_back() -> None:
    memory = filled(10, [4, 9])
    copy = SharedMemory(10, 2)
    copy.load_state_dict({k: v.clone() for k, v in memory.state_dict().items()})
    draws = [m.draw(8, torch.Generator().manual_seed(3)) for m in (memory, copy)]
    assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))
    assert (copy.added, len(copy)) == (13, 10)
