"""The teacher is the running mean of the weights that its student had."""

import torch
from support import tiny

from ssvae.inference.training.mean_teacher import average, student_of
from ssvae.models import M1M2
from ssvae.models.networks import MLP


def test_a_student_begins_as_its_teacher_and_leaves_it_alone():
    teacher = tiny.m2()
    student = student_of(teacher)
    tiny.assert_same_tensors(student.state_dict(), teacher.state_dict())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    tiny.assert_same_tensors(teacher.state_dict(), before)


def test_at_first_the_mean_is_over_a_tenth_of_the_steps_and_later_over_those_that_it_remembers():
    teacher = tiny.m2().double()
    student = student_of(teacher)
    mean = teacher.decoder.perceptron.first.linear.bias.detach().clone()
    learned = student.decoder.perceptron.first.linear.bias
    for step, decay in ((1, 1 / 10), (2, 2 / 11), (9, 0.5), (100, 0.6)):
        with torch.no_grad():
            learned.normal_()
        mean = decay * mean + (1 - decay) * learned.detach()
        average(teacher, student, 0.6, step)
        torch.testing.assert_close(teacher.decoder.perceptron.first.linear.bias.detach(), mean, rtol=1e-12, atol=1e-12)


def test_what_batch_norm_has_seen_is_averaged_and_its_count_taken_over():
    teacher = tiny.m2(batch_norm=True).double()
    student = student_of(teacher).train()
    for _ in range(3):
        student.classify(torch.rand(4, 1, 8, 8, dtype=torch.float64))
    theirs, ours = (dict(model.y_encoder.named_buffers()) for model in (student, teacher))
    before = {name: value.clone() for name, value in ours.items()}
    average(teacher, student, 0.25, 50)
    assert len(ours) == 3
    for name, value in ours.items():
        if name.endswith("num_batches_tracked"):
            assert value == 3
        else:
            torch.testing.assert_close(value, 0.25 * before[name] + 0.75 * theirs[name], rtol=1e-12, atol=1e-12)


def test_a_teacher_is_in_the_stage_of_its_student():
    teacher = M1M2((1, 8, 8), 3, networks=MLP((5,)), inner_networks=MLP((4,)), z1_dim=4, m1_until=0.1, m2_until=0.5)
    student = student_of(teacher)
    student.advance(0.7)
    student.used[1] = False
    average(teacher, student, 0.9, 20)
    assert teacher.stage == student.stage == 3
    assert teacher.used.tolist() == [True, False, True, True]
