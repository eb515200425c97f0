"""Train a small GPT on Hamlet, on as many processes and machines as there are.

    torchrun --nproc-per-node=2 katas/module_08_efficient_computing/train_gpt.py --steps 200

and on two machines that share the folder of the checkpoint, on each of them:

    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=FIRST:29500 \\
        --max-restarts=3 katas/module_08_efficient_computing/train_gpt.py --steps 2000 --checkpoint /shared/gpt.pt

The model is module 05's GPT; its gradients are averaged by this module's `data_parallel`, and a run that
was killed goes on by its `fault_tolerance`.  Your solutions of the three are used where they are green, the
reference's elsewhere; the first lines say which.  The batch of a step is the same on any number of ranks,
and so are the losses.
"""

import argparse
import contextlib
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

from dojo.lab import data, kata


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a small GPT on Hamlet, on any number of ranks.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16, help="sequences in a step, over all ranks")
    parser.add_argument("--checkpoint", type=Path, default=Path("gpt.pt"), help="where the state is kept")
    parser.add_argument("--every", type=int, default=20, help="steps between two checkpoints")
    parser.add_argument("--losses", type=Path, help="a file to which rank 0 adds a line of JSON for each step")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    rank, world, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if not world:
        raise SystemExit("train_gpt.py is started by torchrun: torchrun --nproc-per-node=2 <this file>")
    if arguments.batch < world:
        raise SystemExit(f"a batch of {arguments.batch} sequences leaves some of the {world} ranks without any")
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null if rank else None):
        gpt, parallel, tolerance = kata("gpt"), kata("data_parallel"), kata("fault_tolerance")

    # As many threads on a machine as it has cores, however many ranks share them.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", world))))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    # Two ranks on one GPU can't talk by NCCL.
    alone = device.type == "cuda" and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", world))
    available = {"gloo"} | ({"nccl"} if alone and dist.is_nccl_available() else set())
    backend = tolerance.choose_backend({"cpu", device.type}, available)
    # torchrun's store outlives a restart: the addresses of the ranks that died still stand in it.
    store, _, _ = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    print(f"rank {rank} of {world}: process {os.getpid()} on {device}", flush=True)

    torch.manual_seed(0)
    text = torch.tensor(list(data("hamlet").encode()), device=device)
    config = gpt.GPTConfig(vocab_size=256, context=64, d_model=64, heads=4, layers=2)
    model = parallel.DataParallel(gpt.GPT(config).to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(number: int) -> float:
        # Drawn for all ranks alike, from the step's number; each takes its share.
        places = torch.randint(len(text) - 65, (arguments.batch,), generator=torch.Generator().manual_seed(number))
        share = places[rank::world]
        tokens = torch.stack([text[place : place + 65] for place in share.tolist()])
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        (parallel.loss_factor(len(share)) * loss).backward()
        model.synchronize()
        optimizer.step()
        total = loss.detach() * len(share) / arguments.batch
        dist.all_reduce(total)
        if rank == 0:
            if number % 10 == 0 or number == arguments.steps - 1:
                print(f"step {number:4d}  loss {total.item():.4f}", flush=True)
            if arguments.losses:
                with arguments.losses.open("a") as file:
                    file.write(json.dumps({"step": number, "loss": total.item()}) + "\n")
        return total.item()

    tolerance.train(
        {"model": model, "optimizer": optimizer}, step, arguments.steps, arguments.checkpoint, arguments.every
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
